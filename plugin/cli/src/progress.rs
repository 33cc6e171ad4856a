//! Progress bars of a pull, on a terminal only.

use chunked_engine::{Engine, JobStatus, Phase};

use crate::screen::{self, Layers, Line, TICK};

/// Draws a bar for each running job until cancelled by being dropped.
pub(crate) async fn show(engine: Engine) {
    if !screen::is_shown() {
        return std::future::pending().await;
    }
    let mut layers = Layers::new();
    loop {
        layers.show(engine.running().iter().map(|job| (job.blob, line(job))));
        tokio::time::sleep(TICK).await;
    }
}

fn line(job: &JobStatus) -> Line {
    let what = match job.phase {
        Phase::Waiting => "waiting",
        Phase::Planning => "planning",
        Phase::Transferring => "pulling",
        Phase::Committing => "committing",
    };
    // Of what has to be fetched, so that the rate is the network's.
    let total = if job.bytes_wanted > 0 { job.bytes_wanted } else { job.bytes_total };
    let name = job.blob.to_hex().chars().take(12).collect();
    Line { name, position: (job.bytes_fetched.min(total), total), what }
}
