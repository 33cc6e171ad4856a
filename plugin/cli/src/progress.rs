//! Progress bars of a pull, on a terminal only.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::Duration;

use chunked_core::Digest;
use chunked_engine::{Engine, JobStatus, Phase};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the bars are redrawn.
const TICK: Duration = Duration::from_millis(100);

/// Draws a bar for each running job until cancelled by being dropped.
pub(crate) async fn show(engine: Engine) {
    if !std::io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let screen = MultiProgress::new();
    let mut bars: HashMap<Digest, ProgressBar> = HashMap::new();
    loop {
        let running = engine.running();
        bars.retain(|blob, bar| {
            let runs = running.iter().any(|job| job.blob == *blob);
            if !runs {
                bar.finish_with_message("done");
            }
            runs
        });
        for job in &running {
            let bar = bars.entry(job.blob).or_insert_with(|| screen.add(new_bar(job)));
            draw(bar, job);
        }
        tokio::time::sleep(TICK).await;
    }
}

fn new_bar(job: &JobStatus) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {bar:30} {bytes:>10} of {total_bytes:>10}  {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let name: String = job.blob.to_hex().chars().take(12).collect();
    // Complete before it is shown: a bar that is changed on its own draws itself outside the others.
    ProgressBar::with_draw_target(Some(job.bytes_total), ProgressDrawTarget::hidden())
        .with_style(style)
        .with_prefix(name)
}

fn draw(bar: &ProgressBar, job: &JobStatus) {
    bar.set_position((job.bytes_fetched + job.bytes_reused).min(job.bytes_total));
    bar.set_message(match job.phase {
        Phase::Waiting => "waiting".to_owned(),
        Phase::Planning => "reading its table of contents".to_owned(),
        Phase::Transferring if job.bytes_reused > 0 => {
            format!("pulling; {} were here already", indicatif::HumanBytes(job.bytes_reused))
        }
        Phase::Transferring => "pulling".to_owned(),
        Phase::Committing => "making it durable".to_owned(),
    });
}
