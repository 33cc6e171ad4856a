//! Progress bars of a conversion, on a terminal only.

use chunked_convert::{LayerProgress, Phase, Progress};

use crate::screen::{self, Layers, Line, TICK};

/// Draws a bar for each layer in work until cancelled by being dropped.
pub(super) async fn show(progress: Progress) {
    if !screen::is_shown() {
        return std::future::pending().await;
    }
    let mut layers = Layers::new();
    loop {
        let all = progress.layers();
        layers.show(all.iter().enumerate().filter_map(|(index, layer)| Some((index, line(layer)?))));
        tokio::time::sleep(TICK).await;
    }
}

fn line(layer: &LayerProgress) -> Option<Line> {
    let what = match layer.phase() {
        Phase::Waiting | Phase::Done => return None,
        Phase::Converting => "converting",
        Phase::Copying => "copying",
        Phase::Sending => "sending",
    };
    Some(Line { name: super::short(&layer.blob), position: layer.position(), what })
}
