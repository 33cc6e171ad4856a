//! temporary
#![allow(clippy::unwrap_used)]
use chunked_core::ByteRange;
use chunked_fetch::*;
use chunked_registry::*;
fn main() {
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let args: Vec<String> = std::env::args().collect();
    let r: Reference = args[1].parse().unwrap();
    let size: u64 = args[2].parse().unwrap();
    let client = Client::new(ClientOptions::default()).unwrap();
    let blob = client.blob(&r, r.digest.unwrap(), size);
    for (c, s) in [(0, 0), (1, 2 << 20), (2, 2 << 20), (4, 2 << 20), (4, 8 << 20), (4, 512 << 10), (4, 64 << 10)] {
        for _ in 0..2 {
            let blob = blob.clone();
            let t = std::time::Instant::now();
            let _g = rt.enter();
            let mut rx = if c == 0 { fetch_all(blob) } else { fetch(blob, vec![ByteRange { start: 0, end: size }], FetchOptions { connections: c, segment: s }) };
            let (mut n, mut k) = (0, 0);
            while let Some(x) = rx.blocking_recv() { n += x.unwrap().data.len(); k += 1; }
            let e = t.elapsed().as_secs_f64();
            println!("connections {c} segment {s}: {n} bytes {k} segments {:.3} s {:.0} MB/s cpu {:?}", e, n as f64 / e / 1e6, std::fs::read_to_string("/proc/self/stat").unwrap().split(' ').skip(13).take(2).collect::<Vec<_>>());
        }
    }
}
