//! Progress bars of a conversion, on a terminal only.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use chunked_convert::{LayerProgress, Phase, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the bars are redrawn.
const TICK: Duration = Duration::from_millis(100);

/// Draws a bar for each layer in work until cancelled by being dropped.
pub(super) async fn show(progress: Progress) {
    if !std::io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let screen = MultiProgress::new();
    let mut bars: HashMap<usize, ProgressBar> = HashMap::new();
    loop {
        for (index, layer) in progress.layers().iter().enumerate() {
            if layer.phase() == Phase::Waiting {
                continue;
            }
            let bar = bars.entry(index).or_insert_with(|| screen.add(new_bar(layer)));
            if !bar.is_finished() {
                draw(bar, layer);
            }
        }
        tokio::time::sleep(TICK).await;
    }
}

fn new_bar(layer: &Arc<LayerProgress>) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {bytes:>10} of {total_bytes:>10}  {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    // Complete before it is shown: a bar that is changed on its own draws itself outside the others.
    ProgressBar::with_draw_target(Some(layer.size), ProgressDrawTarget::hidden())
        .with_style(style)
        .with_prefix(super::short(&layer.blob))
}

fn draw(bar: &ProgressBar, layer: &LayerProgress) {
    let (done, total) = layer.position();
    bar.set_length(total.max(1));
    bar.set_position(done.min(total));
    match layer.phase() {
        Phase::Waiting => {}
        Phase::Converting => bar.set_message("converting"),
        Phase::Copying => bar.set_message("copying"),
        Phase::Sending => bar.set_message("sending"),
        Phase::Done => bar.finish_with_message("done"),
    }
}
