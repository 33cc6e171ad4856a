use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::decision::Way;

/// A node that has some digests; the donor is a number. No chunks.
struct Node(HashMap<(Digest, u64), u32>);

/// A node that has chunks only.
struct Chunks(HashMap<(Digest, u64), (u32, u64)>);

impl Reuse for Chunks {
    type Donor = u32;

    fn lookup(&self, _: &[(Digest, u64)]) -> Vec<Option<u32>> {
        Vec::new()
    }

    fn lookup_chunks(&self, wanted: &[(Digest, u64)]) -> Vec<Option<(u32, u64)>> {
        wanted.iter().map(|key| self.0.get(key).copied()).collect()
    }
}

impl Reuse for Node {
    type Donor = u32;

    fn lookup(&self, wanted: &[(Digest, u64)]) -> Vec<Option<u32>> {
        wanted.iter().map(|key| self.0.get(key).copied()).collect()
    }
}

/// Files as lists of (bytes in the blob, is it a hole), with `header` bytes before each.
fn toc(files: &[Vec<(u64, bool)>], header: u64) -> Toc {
    let mut toc = Toc { metadata_bytes: 50 * files.len() as u64, ..Toc::default() };
    let mut at = 0;
    for (number, parts) in files.iter().enumerate() {
        at += header;
        let (start, first, mut size) = (at, u32::try_from(toc.pieces.len()).unwrap(), 0);
        for (bytes, hole) in parts {
            let kind = if *hole { PieceKind::Hole } else { PieceKind::Data };
            let blob = ByteRange { start: at, end: at + bytes };
            toc.pieces.push(Piece { blob, file_offset: size, len: bytes * 2, digest: None, kind });
            at += bytes;
            size += bytes * 2;
        }
        toc.files.push(TocFile {
            name: number.to_string().into_bytes().into(),
            size,
            digest: Digest::of(&number.to_le_bytes()),
            range: ByteRange { start, end: at },
            pieces: first..u32::try_from(toc.pieces.len()).unwrap(),
        });
    }
    toc
}

fn node(toc: &Toc, has: impl Fn(usize) -> bool) -> Node {
    let files = toc.files.iter().enumerate().filter(|(index, _)| has(*index));
    Node(files.map(|(index, file)| ((file.digest, file.size), u32::try_from(index).unwrap())).collect())
}

#[test]
fn a_node_with_nothing_fetches_one_range() {
    let toc = toc(&vec![vec![(20_000, false)]; 50], 140);
    let plan = plan(&toc, &node(&toc, |_| false), &Costs::default());
    assert_eq!(plan.ranges, [ByteRange { start: 140, end: 50 * 20_140 }]);
    assert!(plan.whole && plan.sources.iter().all(|source| *source == FileSource::Fetch));
    assert_eq!((plan.needed_bytes, plan.fetch_bytes), (1_000_000, 1_000_000 + 49 * 140));
}

#[test]
fn a_node_with_everything_fetches_nothing() {
    let toc = toc(&vec![vec![(20_000, false), (15, true)]; 50], 140);
    let plan = plan(&toc, &node(&toc, |_| true), &Costs::default());
    assert_eq!((plan.ranges.as_slice(), plan.fetch_bytes, plan.whole), ([].as_slice(), 0, false));
    assert_eq!((plan.reused_files, plan.reused_bytes), (50, 1_000_000));
    assert_eq!(plan.sources.get(7), Some(&FileSource::Donor(7)));
}

#[test]
fn size_is_part_of_the_key() {
    let toc = toc(&[vec![(10, false)]], 1);
    let donor = Node(HashMap::from([((toc.files[0].digest, toc.files[0].size + 1), 0)]));
    assert_eq!(plan(&toc, &donor, &Costs::default()).reused_files, 0);
}

#[test]
fn a_short_answer_means_no_donor() {
    struct Silent;
    impl Reuse for Silent {
        type Donor = ();
        fn lookup(&self, _: &[(Digest, u64)]) -> Vec<Option<()>> {
            Vec::new()
        }
    }
    let toc = toc(&[vec![(10, false)], vec![(10, false)]], 1);
    let plan = plan(&toc, &Silent, &Costs::default());
    assert_eq!(plan.sources, [FileSource::Fetch, FileSource::Fetch]);
}

#[test]
fn large_holes_are_not_fetched() {
    let toc = toc(&[vec![(100_000, false), (500_000, true), (100_000, false)]], 0);
    let plan = plan(&toc, &node(&toc, |_| false), &Costs::default());
    assert_eq!(plan.ranges.len(), 2);
    assert_eq!(plan.fetch_bytes, 200_000);
}

/// Gives the pieces these contents.
fn with_contents(mut toc: Toc, contents: &[u8]) -> Toc {
    for (piece, content) in toc.pieces.iter_mut().zip(contents) {
        piece.digest = Some(Digest::of(&[*content]));
    }
    toc
}

#[test]
fn pieces_come_from_where_they_are() {
    let parts = [(10_000, false), (20_000, false), (300_000, true), (40_000, false), (10_000, false)];
    let toc = with_contents(toc(&[parts.to_vec(), vec![(20_000, false)]], 140), b"abcdab");
    let has = |content: u8, len, donor| ((Digest::of(&[content]), len), donor);
    let node = Chunks(HashMap::from([has(b'b', 40_000, (7, 4096)), has(b'd', 1, (8, 0))]));
    let plan = plan(&toc, &node, &Costs::default());
    let expected = [
        PieceSource::Fetch,
        PieceSource::Donor(7, 4096),
        PieceSource::Fetch,
        PieceSource::Fetch,
        PieceSource::Repeat(0),
    ];
    assert_eq!(plan.sources, [FileSource::Pieces(expected.into()), FileSource::Fetch]);
    let at = |start: u64, end: u64| ByteRange { start: 140 + start, end: 140 + end };
    assert_eq!(plan.ranges, [at(0, 10_000), at(330_000, 370_000), at(380_140, 400_140)]);
    assert_eq!((plan.reused_pieces, plan.reused_bytes, plan.repeated_bytes), (2, 30_000, 10_000));
    assert_eq!((plan.needed_bytes, plan.reused_files, plan.whole), (70_000, 0, false));
}

#[test]
fn repeats_are_fetched_once() {
    let mut toc = toc(&vec![vec![(20_000, false)]; 4], 0);
    toc.files[1].digest = toc.files[0].digest;
    toc.files[3].digest = toc.files[0].digest;
    // The same digest with another length is another content.
    toc.files[3].size += 1;
    let plan = plan(&toc, &node(&toc, |_| false), &Costs::default());
    let fetch = FileSource::Fetch;
    assert_eq!(plan.sources, [fetch.clone(), FileSource::Repeat(0), fetch.clone(), fetch]);
    assert_eq!((plan.needed_bytes, plan.repeated_bytes, plan.reused_files), (60_000, 20_000, 1));
}

#[test]
fn repeats_of_what_the_node_has_come_from_there() {
    let mut toc = toc(&vec![vec![(20_000, false)]; 2], 0);
    toc.files[1].digest = toc.files[0].digest;
    let plan = plan(&toc, &node(&toc, |index| index == 0), &Costs::default());
    assert_eq!(plan.sources, [FileSource::Donor(0), FileSource::Donor(0)]);
}

#[test]
fn very_long_pieces_are_fetched() {
    let long = MAX_REUSED_PIECE / 2 + 1;
    let toc = with_contents(toc(&[vec![(long, false), (long, false), (5, false), (5, false)]], 0), b"aabb");
    let plan = plan(&toc, &Chunks(HashMap::new()), &Costs::default());
    let [FileSource::Pieces(pieces)] = &plan.sources[..] else { panic!("{:?}", plan.sources) };
    assert_eq!(pieces[1..], [PieceSource::Fetch, PieceSource::Fetch, PieceSource::Repeat(2)]);
}

#[test]
fn an_empty_layer_has_an_empty_plan() {
    let plan = plan(&Toc::default(), &node(&Toc::default(), |_| true), &Costs::default());
    assert_eq!((plan.sources.len(), plan.ranges.len(), plan.whole), (0, 0, false));
}

#[test]
fn summaries_are_for_people_and_machines() {
    let toc = toc(&vec![vec![(20_000, false)]; 4], 140);
    let summary = plan(&toc, &node(&toc, |index| index == 1), &Costs::default()).summary();
    assert_eq!(
        summary.to_string(),
        "reuse 1 of 4 files and 0 chunks (20000 bytes, 0 of them repeats), fetch 60140 bytes in 2 ranges (60000 needed, 200 of metadata)"
    );
    let json = serde_json::to_value(summary).unwrap();
    assert_eq!((&json["ranges"], &json["whole"]), (&2.into(), &false.into()));
}

proptest! {
    #[test]
    fn every_file_comes_from_one_place(
        files in prop::collection::vec(
            (prop::collection::vec((1u64..50_000, prop::bool::weighted(0.2)), 1..5), any::<bool>()), 0..60),
        header in 0u64..2_000,
    ) {
        let (parts, has): (Vec<_>, Vec<_>) = files.into_iter().unzip();
        let toc = toc(&parts, header);
        let plan = plan(&toc, &node(&toc, |index| has[index]), &Costs::default());
        let end = toc.files.last().map_or(0, |file| file.range.end);
        let mut needed = 0;
        for (file, source) in toc.files.iter().zip(&plan.sources) {
            for piece in toc.pieces_of(file).iter().filter(|piece| piece.kind == PieceKind::Data) {
                if *source == FileSource::Fetch {
                    needed += piece.blob.len();
                    prop_assert!(plan.ranges.iter().any(|range| range.contains(&piece.blob)));
                }
            }
        }
        prop_assert_eq!(plan.sources.len(), toc.files.len());
        prop_assert_eq!(plan.needed_bytes, needed);
        prop_assert_eq!(plan.fetch_bytes, total(&plan.ranges));
        prop_assert!(plan.ranges.iter().all(|range| range.start >= header && range.end <= end));
        prop_assert_eq!(plan.reused_files, has.iter().filter(|has| **has).count() as u64);
        let base = needed + toc.metadata_bytes;
        let extra = plan.fetch_bytes - needed;
        let bounded = extra * 100 <= base * Costs::EXTRA_PERCENT_CROWDED || extra <= Costs::EXTRA_FREE;
        prop_assert!(bounded || plan.decision.way == crate::Way::Stream);
    }
}

#[test]
fn bytes_count_where_some_of_a_layer_is_here() {
    // Every other file, and a line on which one stream is faster by far.
    let toc = toc(&vec![vec![(20_000, false)]; 400], 140);
    let long = Costs { bandwidth: 1_000_000_000, round_trip: Duration::from_secs(1), ..Costs::default() };
    let every_other = node(&toc, |at| at % 2 == 0);
    let update = plan(&toc, &every_other, &long);
    assert_eq!((update.decision.way, update.needed_bytes), (Way::Ranges, 200 * 20_000));
    let (floor, fetched) =
        (update.needed_bytes + update.metadata_bytes, update.fetch_bytes + update.metadata_bytes);
    assert!(fetched * 100 <= floor * 105, "{fetched} of {floor}");
    assert_eq!(update.decision.costs.prefer, Prefer::Bytes);
    let fast = plan(&toc, &every_other, &Costs { prefer: Prefer::Time, ..long });
    assert_eq!((fast.decision.way, fast.ranges.len()), (Way::Stream, 1));
    // Of a layer that is new to the node, what comes twice is not worth a request.
    let mut new = toc.clone();
    (1..400).step_by(2).for_each(|at| new.files[at].digest = new.files[0].digest);
    let cold = plan(&new, &node(&new, |_| false), &long);
    assert_eq!(
        (cold.decision.way, cold.reused_files, cold.decision.costs.prefer),
        (Way::Stream, 200, Prefer::Time)
    );
}
