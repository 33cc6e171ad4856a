//! The file: complete records, one JSON object on each line, the oldest first.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::record::PullRecord;

/// Longest part of the file that is read, from its end.
const MAX_READ: u64 = 64 << 20;
/// Longest line believed: a record of 128 layers with long reasons has a quarter of that.
const MAX_LINE: u64 = 1 << 20;

/// Where records are kept.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    /// Lines in the file, as far as is known.
    lines: usize,
    /// Its last line has no end: the next one begins with one.
    torn: bool,
}

impl Lines {
    /// The records at `path`; whatever is not a record is left out.
    pub(crate) fn open(path: &Path) -> (Self, Vec<PullRecord>) {
        let mut lines = Self { path: path.to_owned(), lines: 0, torn: false };
        let records = match lines.read() {
            Ok(records) => records,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the history of pulls cannot be read; it begins anew");
                Vec::new()
            }
        };
        (lines, records)
    }

    fn read(&mut self) -> io::Result<Vec<PullRecord>> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        let skipped = length.saturating_sub(MAX_READ);
        file.seek(SeekFrom::Start(skipped))?;
        let mut reader = BufReader::new(file);
        let mut records = Vec::new();
        loop {
            let mut line = Vec::new();
            if reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(records);
            }
            self.torn = line.last() != Some(&b'\n');
            self.lines += 1;
            // Torn by a crash, cut by the limit, or of another version.
            records.extend(serde_json::from_slice::<PullRecord>(&line));
        }
    }

    /// Adds a record. When the file has become twice as long as it need be, it is written anew with `all`, which has
    /// the record, too.
    pub(crate) fn add<'a>(
        &mut self,
        record: &PullRecord,
        most: usize,
        all: impl Fn() -> Vec<PullRecord> + 'a,
    ) -> io::Result<()> {
        if self.lines >= most.saturating_mul(2).max(16) {
            return self.write_anew(&all());
        }
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if std::mem::take(&mut self.torn) {
            line.insert(0, b'\n');
        }
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).mode(0o600).open(&self.path)?;
        self.lines += 1;
        // Half a line, if the disk is full.
        file.write_all(&line).inspect_err(|_| self.torn = true)
    }

    fn write_anew(&mut self, all: &[PullRecord]) -> io::Result<()> {
        let new = self.path.with_extension("jsonl.new");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        let mut file = BufWriter::new(file);
        for record in all {
            serde_json::to_writer(&mut file, record)?;
            file.write_all(b"\n")?;
        }
        file.flush()?;
        std::fs::rename(&new, &self.path)?;
        (self.lines, self.torn) = (all.len(), false);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Outcome;

    fn record(number: u64) -> PullRecord {
        PullRecord {
            number,
            began: 1,
            ended: 2,
            image: "r.example/app:v1".to_owned(),
            manifest: "sha256:m".to_owned(),
            client: "containerd".to_owned(),
            outcome: Outcome::Complete,
            reason: None,
            resolve_seconds: 0.5,
            layers: vec![crate::LayerRecord::default()],
        }
    }

    fn numbers(path: &Path) -> Vec<u64> {
        Lines::open(path).1.iter().map(|record| record.number).collect()
    }

    #[test]
    fn what_is_torn_costs_its_record_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        assert!(numbers(&path).is_empty());
        let (mut lines, _) = Lines::open(&path);
        for number in 1..=3 {
            lines.add(&record(number), 10, Vec::new).unwrap();
        }
        assert_eq!(Lines::open(&path).1.first(), Some(&record(1)), "as it was written");
        // The power went in the middle of the last line.
        let text = std::fs::read(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 20]).unwrap();
        assert_eq!(numbers(&path), [1, 2]);
        let (mut lines, _) = Lines::open(&path);
        lines.add(&record(4), 10, Vec::new).unwrap();
        assert_eq!(numbers(&path), [1, 2, 4]);
        // Zeros, as some file systems leave them; and what is no text at all.
        for junk in [&b"\0\0\0\0\0\0\n"[..], b"{\"number\": 9}\n", b"\xff\xfe\n", b"[1, 2\n"] {
            let mut text = std::fs::read(&path).unwrap();
            text.extend_from_slice(junk);
            std::fs::write(&path, text).unwrap();
            assert_eq!(numbers(&path), [1, 2, 4]);
        }
        // Not even a file.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let (mut lines, records) = Lines::open(&path);
        assert!(records.is_empty() && lines.add(&record(5), 10, Vec::new).is_err());
    }

    #[test]
    fn the_file_is_written_anew_when_it_is_long() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.jsonl");
        let (mut lines, _) = Lines::open(&path);
        for number in 1..=100 {
            lines.add(&record(number), 10, || (number - 9..=number).map(record).collect()).unwrap();
            let length = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(length <= 20, "{length}");
        }
        assert_eq!(numbers(&path).last(), Some(&100));
        assert!(!path.with_extension("jsonl.new").exists());
    }
}
