//! The cuts of the input change nothing.

mod common;

use common::print::entries;
use common::random::{Random, tar};
use common::table::table;

#[test]
fn pieces_of_any_size_are_read_alike() {
    let mut random = Random(7);
    let tables = table().into_iter().step_by(5).filter(|(_, tar)| tar.len() < 1 << 16);
    let more = (0..3000).map(|number| (format!("random {number}"), tar(&mut random)));
    let mut read = 0;
    for (name, tar) in tables.chain(more) {
        let whole = entries(&tar, tar.len());
        read += usize::from(whole.ends_with("end"));
        for piece in [1, 7, 511, 512, 513, 1500] {
            assert_eq!(entries(&tar, piece), whole, "{name} in pieces of {piece}");
        }
    }
    assert!(read > 1000, "most tars are sound: {read}");
}
