//! The records in memory: those of pulls that go on, and those of pulls that ended. Pure: times are given.

use std::collections::VecDeque;

use crate::record::{LayerRecord, Outcome, PullRecord, Way, short};

/// Pulls that go on at once, at most; beyond that the one that stands still longest is taken as abandoned.
const MAX_OPEN: usize = 256;

/// What is known of a pull when its first layer is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// The image's name.
    pub image: String,
    /// Digest of its manifest.
    pub manifest: String,
    /// Who asks.
    pub client: String,
    /// Seconds to find out which image it is.
    pub resolve_seconds: f64,
    /// Its layers, lowest first: blob, DiffID and bytes.
    pub layers: Vec<(String, String, u64)>,
}

#[derive(Debug)]
pub(crate) struct Book {
    most: usize,
    next: u64,
    open: Vec<PullRecord>,
    closed: VecDeque<PullRecord>,
}

impl Book {
    /// A book of at most so many records of ended pulls, with those of earlier days.
    pub(crate) fn new(most: usize, earlier: Vec<PullRecord>) -> Self {
        let next = earlier.iter().map(|pull| pull.number.saturating_add(1)).max().unwrap_or(1);
        let mut book = Self { most, next, open: Vec::new(), closed: earlier.into() };
        book.trim();
        book
    }

    fn trim(&mut self) {
        while self.closed.len() > self.most {
            self.closed.pop_front();
        }
    }

    /// A layer of an image is asked for. Gives a pull that had to end for that, if any.
    pub(crate) fn begin(&mut self, start: Start, now: u64) -> Option<PullRecord> {
        if let Some(pull) = self.of(&start.manifest) {
            pull.ended = now;
            return None;
        }
        let crowded = self.open.len() >= MAX_OPEN;
        let stalest = self.open.iter().min_by_key(|pull| pull.ended).map(|pull| pull.manifest.clone());
        let gone = stalest.filter(|_| crowded).and_then(|manifest| self.close(&manifest, Outcome::Abandoned));
        let layer = |(blob, diff_id, size)| LayerRecord { blob, diff_id, size, ..LayerRecord::default() };
        self.open.push(PullRecord {
            number: self.next,
            began: now,
            ended: now,
            image: short(&start.image),
            manifest: start.manifest,
            client: short(&start.client),
            outcome: Outcome::Running,
            reason: None,
            resolve_seconds: start.resolve_seconds,
            layers: start.layers.into_iter().map(layer).collect(),
        });
        self.next += 1;
        gone
    }

    fn of(&mut self, manifest: &str) -> Option<&mut PullRecord> {
        self.open.iter_mut().find(|pull| pull.manifest == manifest)
    }

    /// What became of a layer. What is known already is not replaced by less. True when that was news.
    pub(crate) fn layer(&mut self, manifest: &str, came: &LayerRecord, now: u64) -> bool {
        let Some(pull) = self.of(manifest) else { return false };
        pull.ended = now;
        let mut news = false;
        let same = |layer: &&mut LayerRecord| layer.blob == came.blob && layer.diff_id == came.diff_id;
        for layer in pull.layers.iter_mut().filter(same).filter(|layer| came.way > layer.way) {
            let reason = came.reason.as_deref().map(short);
            *layer = LayerRecord { reason, size: layer.size, ..came.clone() };
            news = true;
        }
        news
    }

    /// The layer `index` was answered: it is ready, or containerd's. Gives the record once that was the last one.
    pub(crate) fn answered(&mut self, manifest: &str, index: usize, now: u64) -> Option<PullRecord> {
        let pull = self.of(manifest)?;
        pull.ended = now;
        if index + 1 < pull.layers.len() {
            return None;
        }
        // The others had snapshots, or containerd would not have asked for the last one.
        for layer in pull.layers.iter_mut().filter(|layer| layer.way == Way::Unknown) {
            layer.way = Way::Present;
        }
        let handed_over = pull.layers.iter().any(|layer| layer.way == Way::HandedOver);
        self.close(manifest, if handed_over { Outcome::HandedOver } else { Outcome::Complete })
    }

    /// The layer `index` is containerd's, for this reason.
    pub(crate) fn handed_over(
        &mut self,
        manifest: &str,
        index: usize,
        reason: &str,
        now: u64,
    ) -> Option<PullRecord> {
        let pull = self.of(manifest)?;
        pull.reason.get_or_insert_with(|| short(reason));
        if let Some(layer) = pull.layers.get_mut(index)
            && layer.way < Way::HandedOver
        {
            (layer.way, layer.reason) = (Way::HandedOver, Some(short(reason)));
        }
        self.answered(manifest, index, now)
    }

    /// The pull failed, with the layer `index` if that is known.
    pub(crate) fn failed(
        &mut self,
        manifest: &str,
        index: Option<usize>,
        reason: &str,
        now: u64,
    ) -> Option<PullRecord> {
        let pull = self.of(manifest)?;
        pull.ended = now;
        pull.reason = Some(short(reason));
        if let Some(layer) = index.and_then(|index| pull.layers.get_mut(index)) {
            (layer.way, layer.reason) = (Way::Failed, Some(short(reason)));
        }
        self.close(manifest, Outcome::Failed)
    }

    /// Ends pulls where nothing has happened since `before`, unless `is_busy`.
    pub(crate) fn sweep(&mut self, before: u64, is_busy: impl Fn(&PullRecord) -> bool) -> Vec<PullRecord> {
        let still = self.open.iter().filter(|pull| pull.ended <= before && !is_busy(pull));
        let still: Vec<String> = still.map(|pull| pull.manifest.clone()).collect();
        still.iter().filter_map(|manifest| self.close(manifest, Outcome::Abandoned)).collect()
    }

    fn close(&mut self, manifest: &str, outcome: Outcome) -> Option<PullRecord> {
        let at = self.open.iter().position(|pull| pull.manifest == manifest)?;
        let pull = PullRecord { outcome, ..self.open.remove(at) };
        self.closed.push_back(pull.clone());
        self.trim();
        Some(pull)
    }

    /// All records, oldest first; pulls that go on come last.
    pub(crate) fn all(&self) -> Vec<PullRecord> {
        self.closed.iter().chain(&self.open).cloned().collect()
    }

    /// Their number, without cloning them.
    pub(crate) fn len(&self) -> usize {
        self.closed.len() + self.open.len()
    }

    /// Records of ended pulls, oldest first.
    pub(crate) fn closed(&self) -> impl Iterator<Item = &PullRecord> {
        self.closed.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(image: &str, layers: usize) -> Start {
        let layer = |n| (format!("sha256:b{n}"), format!("sha256:d{n}"), 100);
        Start {
            image: image.to_owned(),
            manifest: format!("sha256:{image}"),
            client: "containerd".to_owned(),
            resolve_seconds: 0.1,
            layers: (0..layers).map(layer).collect(),
        }
    }

    fn came(n: usize, way: Way) -> LayerRecord {
        let (blob, diff_id) = (format!("sha256:b{n}"), format!("sha256:d{n}"));
        LayerRecord { blob, diff_id, way, fetched: 7, ..LayerRecord::default() }
    }

    #[test]
    fn a_pull_is_complete_with_its_last_layer() {
        let mut book = Book::new(10, Vec::new());
        assert!(book.begin(start("a", 3), 1000).is_none());
        book.layer("sha256:a", &came(2, Way::Chunked), 1500);
        // Its Prepare finds it here, which is less than is known.
        book.layer("sha256:a", &came(2, Way::Present), 1600);
        book.layer("sha256:a", &came(1, Way::Whole), 1700);
        assert_eq!(book.answered("sha256:a", 1, 1800), None);
        book.begin(start("a", 3), 1900);
        let done = book.answered("sha256:a", 2, 3000).unwrap();
        let ways: Vec<_> = done.layers.iter().map(|layer| layer.way).collect();
        assert_eq!(ways, [Way::Present, Way::Whole, Way::Chunked]);
        assert_eq!((done.outcome, done.seconds(), done.layers[2].size), (Outcome::Complete, 2.0, 100));
        assert_eq!(book.answered("sha256:a", 2, 3100), None, "it is closed");
        book.begin(start("a", 3), 4000);
        assert_eq!(book.all().len(), 2, "a later pull is another one");
    }

    #[test]
    fn what_containerd_takes_over_is_told_with_the_reason() {
        let mut book = Book::new(10, Vec::new());
        book.begin(start("a", 3), 0);
        book.layer("sha256:a", &came(0, Way::Chunked), 1);
        assert_eq!(book.handed_over("sha256:a", 1, "denied\nby all", 2), None);
        let done = book.handed_over("sha256:a", 2, "follows", 3).unwrap();
        assert_eq!(done.outcome, Outcome::HandedOver);
        assert_eq!(done.reason.as_deref(), Some("denied by all"));
        let ways: Vec<_> = done.layers.iter().map(|layer| layer.way).collect();
        assert_eq!(ways, [Way::Chunked, Way::HandedOver, Way::HandedOver]);
    }

    #[test]
    fn what_fails_or_stands_still_ends() {
        let mut book = Book::new(10, Vec::new());
        book.begin(start("a", 2), 0);
        let failed = book.failed("sha256:a", Some(0), "no", 5).unwrap();
        assert_eq!((failed.outcome, failed.layers[0].way), (Outcome::Failed, Way::Failed));
        book.begin(start("b", 2), 10);
        book.begin(start("c", 2), 10);
        assert!(book.sweep(9, |_| false).is_empty());
        let swept = book.sweep(10, |pull| pull.image == "c");
        assert_eq!(swept.iter().map(|pull| &*pull.image).collect::<Vec<_>>(), ["b"]);
        assert_eq!(book.all().last().map(|pull| pull.outcome), Some(Outcome::Running));
    }

    #[test]
    fn the_number_of_records_is_bounded() {
        let mut book = Book::new(3, Vec::new());
        for n in 0..5 {
            book.begin(start(&n.to_string(), 1), n);
            book.answered(&format!("sha256:{n}"), 0, n);
        }
        let numbers = |book: &Book| book.all().iter().map(|pull| pull.number).collect::<Vec<_>>();
        assert_eq!(numbers(&book), [3, 4, 5]);
        let mut later = Book::new(2, book.all());
        later.begin(start("x", 1), 9);
        assert_eq!(numbers(&later), [4, 5, 6]);
        let mut crowd = Book::new(1000, Vec::new());
        for n in 0..MAX_OPEN as u64 + 1 {
            let gone = crowd.begin(start(&n.to_string(), 1), n);
            assert_eq!(gone.map(|pull| pull.image), (n == MAX_OPEN as u64).then(|| "0".to_owned()));
        }
    }
}
