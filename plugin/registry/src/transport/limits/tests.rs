use super::*;

/// How long is waited where nothing moves.
const WHILE: Duration = Duration::from_millis(300);

/// Enters at `host` on behalf of the registry of the same name, or gives up at once.
async fn enter(limits: &Limits, host: &str, bytes: u64) -> Option<Permits> {
    limits.enter(host, host, bytes, Duration::from_millis(20)).await.ok()
}

#[tokio::test]
async fn hosts_and_all_are_limited() {
    let limits = Limits::new(2, 4, 1 << 30);
    let one = enter(&limits, "a", 0).await.unwrap();
    let _two = enter(&limits, "a", 0).await.unwrap();
    assert!(enter(&limits, "a", 0).await.is_none(), "two at one host");
    let _three = enter(&limits, "b", 0).await.unwrap();
    let _four = enter(&limits, "c", 0).await.unwrap();
    assert!(enter(&limits, "d", 0).await.is_none(), "all are taken");
    drop(one);
    let _five = enter(&limits, "d", 0).await.unwrap();
    assert!(limits.queue.lock().admit().is_empty(), "who gave up does not wait");
}

#[tokio::test]
async fn bytes_are_given_back_as_they_arrive() {
    let limits = Limits::new(10, 10, 100 * UNIT);
    let mut one = enter(&limits, "a", 90 * UNIT).await.unwrap();
    drop(enter(&limits, "b", 10 * UNIT).await.unwrap());
    assert!(enter(&limits, "b", 11 * UNIT).await.is_none());
    for _ in 0..4 {
        one.arrived(256);
    }
    drop(enter(&limits, "b", 11 * UNIT).await.unwrap());
    one.arrived(usize::MAX / 2);
    drop(enter(&limits, "b", 100 * UNIT).await.unwrap());
    drop(one);
    drop(enter(&limits, "a", 1000 * UNIT).await.expect("more than there is at all is asked for alone"));
}

#[tokio::test]
async fn what_one_registry_holds_leaves_room_for_others() {
    for all in [2, 3, 5, 10, 64] {
        let limits = Limits::new(1000, all, all as u64 * UNIT);
        let mut held = Vec::new();
        // Redirects and mirrors: as many hosts as it likes.
        for n in 0..2 * all {
            held.extend(limits.enter("stalled", &format!("h{n}"), UNIT, Duration::from_millis(2)).await.ok());
        }
        assert!(held.len() < all && held.len() * 5 >= (all - 1) * 3, "{} of {all}", held.len());
        for registry in ["good", "better"].iter().take(all - 1) {
            held.push(enter(&limits, registry, UNIT).await.expect("a place is left"));
            if all < 10 {
                held.pop();
            }
        }
    }
}

#[tokio::test]
async fn a_stalled_registry_does_not_hold_up_who_waits_behind_it() {
    let limits = Limits::new(1, 10, 1 << 20);
    let _held = enter(&limits, "stalled", 0).await.unwrap();
    let queued = limits.clone();
    let first = tokio::spawn(async move { queued.enter("stalled", "stalled", 0, WHILE).await.is_ok() });
    tokio::task::yield_now().await;
    drop(enter(&limits, "good", 0).await.expect("another host's queue is another queue"));
    assert!(!first.await.unwrap());
}

#[tokio::test]
async fn a_long_request_is_not_overtaken_for_ever() {
    let limits = Limits::new(100, 100, 100 * UNIT);
    let mut small: Vec<Permits> = Vec::new();
    for _ in 0..10 {
        small.push(enter(&limits, "a", 2 * UNIT).await.unwrap());
    }
    let (queued, patience) = (limits.clone(), 5 * WHILE);
    let long = tokio::spawn(async move { queued.enter("a", "a", 100 * UNIT, patience).await.is_ok() });
    tokio::task::yield_now().await;
    let (queued, patience) = (limits.clone(), 5 * WHILE);
    let later = tokio::spawn(async move { queued.enter("a", "a", 2 * UNIT, patience).await.is_ok() });
    tokio::task::yield_now().await;
    assert!(!later.is_finished(), "it waits behind the long one");
    drop(small);
    assert!(long.await.unwrap() && later.await.unwrap());
}

#[tokio::test]
async fn waiting_ends_when_nothing_moves_and_not_before() {
    let limits = Limits::new(1, 10, 1 << 20);
    let mut held = enter(&limits, "a", 1 << 20).await.unwrap();
    let started = std::time::Instant::now();
    let queued = limits.clone();
    let waits = tokio::spawn(async move { queued.enter("a", "a", 0, WHILE).await.err() });
    for _ in 0..10 {
        tokio::time::sleep(WHILE / 2).await;
        held.arrived(1);
    }
    assert!(!waits.is_finished(), "bytes arrived all the time");
    assert_eq!(waits.await.unwrap(), Some(Stuck(WHILE)));
    assert!(started.elapsed() < 8 * WHILE, "{:?}", started.elapsed());
}

#[tokio::test]
async fn everything_is_given_back() {
    let limits = Limits::new(3, 7, 50 * UNIT);
    let mut tasks = Vec::new();
    for n in 0_u64..200 {
        let limits = limits.clone();
        tasks.push(tokio::spawn(async move {
            let (registry, host) = (format!("r{}", n % 5), format!("h{}", n % 11));
            let entered = limits.enter(&registry, &host, (n % 60) * UNIT, WHILE).await;
            let Ok(mut permits) = entered else { return };
            tokio::time::sleep(Duration::from_millis(n % 7)).await;
            permits.arrived(usize::try_from(n * 300).unwrap());
        }));
    }
    // Some give up in the queue, others while they hold something.
    for task in tasks.iter().step_by(3) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        task.abort();
    }
    for task in tasks {
        let _ = task.await;
    }
    let fresh = format!("{:?}", Limits::new(3, 7, 50 * UNIT).queue.lock());
    let counters = |text: &str| text.split("next").next().unwrap().to_owned();
    assert_eq!(counters(&format!("{:?}", limits.queue.lock())), counters(&fresh));
}
