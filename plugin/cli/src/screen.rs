//! The part of a terminal that is drawn anew: progress bars, and whatever is written above them.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::{self, IsTerminal as _, Write};
use std::sync::LazyLock;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often bars are redrawn.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Standard error's, for the whole process: log lines have to know of the bars.
static SCREEN: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// A bar's line. At 80 columns 13 of them are left for the message, which is cut where the line ends.
const BAR: &str =
    "{prefix:12} {bar:14} {bytes:>10} of {total_bytes:>10} {binary_bytes_per_sec:>12}  {wide_msg}";

/// Whether somebody sees bars: on a terminal that can move its cursor.
pub(crate) fn is_shown() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether text to standard error may be coloured (<https://no-color.org>).
pub(crate) fn has_colour() -> bool {
    is_shown() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// What is shown of something that takes its time.
pub(crate) struct Line {
    /// At most twelve columns.
    pub(crate) name: String,
    /// Bytes done and bytes to do. Both start again when `what` changes.
    pub(crate) position: (u64, u64),
    /// A word or two.
    pub(crate) what: &'static str,
}

/// Bars of layers in work, and below them how many are done. Cleared when dropped.
pub(crate) struct Layers<K> {
    bars: HashMap<K, (ProgressBar, &'static str)>,
    done: usize,
    summary: Option<ProgressBar>,
}

impl<K: Copy + Eq + Hash> Layers<K> {
    pub(crate) fn new() -> Self {
        Self { bars: HashMap::new(), done: 0, summary: None }
    }

    /// Shows these; those that were shown and are not among them are done.
    pub(crate) fn show(&mut self, lines: impl IntoIterator<Item = (K, Line)>) {
        let lines: Vec<(K, Line)> = lines.into_iter().collect();
        let before = self.bars.len();
        self.bars.retain(|key, (bar, _)| {
            let stays = lines.iter().any(|(shown, _)| shown == key);
            if !stays {
                bar.finish_and_clear();
                SCREEN.remove(bar);
            }
            stays
        });
        let done = before - self.bars.len();
        if done > 0 {
            self.done += done;
            let text =
                if self.done == 1 { "1 layer done".to_owned() } else { format!("{} layers done", self.done) };
            let summary = self.summary.get_or_insert_with(|| SCREEN.add(hidden("{wide_msg}", 0)));
            summary.set_message(text);
        }
        for (key, line) in lines {
            let (done, total) = line.position;
            match self.bars.get_mut(&key) {
                Some((bar, what)) if *what == line.what => {
                    bar.set_length(total.max(1));
                    bar.set_position(done.min(total));
                }
                // What was done before the first look says nothing about the rate: counting begins with the next.
                Some((bar, what)) => {
                    *what = line.what;
                    bar.set_message(line.what);
                    bar.reset();
                }
                None => {
                    self.bars.insert(key, (added(self.summary.as_ref(), &line), line.what));
                }
            }
        }
    }
}

impl<K> Drop for Layers<K> {
    fn drop(&mut self) {
        for (bar, _) in self.bars.values() {
            bar.finish_and_clear();
        }
        if let Some(summary) = &self.summary {
            summary.finish_and_clear();
        }
        // A terminal that is gone needs no clearing.
        let _ = SCREEN.clear();
    }
}

/// Complete before it is shown: a bar that is changed on its own draws itself outside the others.
fn hidden(template: &str, len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(len), ProgressDrawTarget::hidden()).with_style(style)
}

fn added(summary: Option<&ProgressBar>, line: &Line) -> ProgressBar {
    let bar = hidden(BAR, line.position.1.max(1)).with_prefix(line.name.clone()).with_message(line.what);
    match summary {
        Some(summary) => SCREEN.insert_before(summary, bar),
        None => SCREEN.add(bar),
    }
}

/// One bar with a template of its own. Cleared when dropped.
pub(crate) struct Bar(pub(crate) ProgressBar);

impl Bar {
    pub(crate) fn new(template: &str) -> Self {
        Self(SCREEN.add(hidden(template, 0)))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Standard error above the bars, for log lines.
pub(crate) struct Above;

impl Write for Above {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SCREEN.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
