use super::*;

#[test]
fn table_of_decisions() {
    use Decision::{Fail, HandOver};
    for (cause, containerd, fail) in [
        (Cause::NoSource, HandOver, HandOver),
        (Cause::UnknownServer, HandOver, Fail(Code::Unavailable)),
        (Cause::NoAnswer, HandOver, Fail(Code::Unavailable)),
        (Cause::Denied, HandOver, Fail(Code::Unavailable)),
        (Cause::Missing, HandOver, Fail(Code::Unavailable)),
        (Cause::Unreachable, HandOver, Fail(Code::Unavailable)),
        (Cause::Untrusted, HandOver, Fail(Code::Unavailable)),
        (Cause::Refused, HandOver, Fail(Code::Unavailable)),
        (Cause::Unreadable, HandOver, Fail(Code::FailedPrecondition)),
        (Cause::Unsupported, HandOver, Fail(Code::FailedPrecondition)),
        (Cause::Integrity, Fail(Code::FailedPrecondition), Fail(Code::FailedPrecondition)),
        (Cause::Node, Fail(Code::Internal), Fail(Code::Internal)),
        (Cause::Stopped, Fail(Code::Unavailable), Fail(Code::Unavailable)),
    ] {
        assert_eq!(decide(cause, Fallback::Containerd), containerd, "{cause:?}");
        assert_eq!(decide(cause, Fallback::Fail), fail, "{cause:?}");
    }
}

#[test]
fn every_cause_has_a_name_of_its_own_and_an_advice() {
    let mut names: Vec<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Cause::ALL.len());
    assert!(Cause::ALL.iter().all(|cause| !cause.advice().is_empty()));
}

#[test]
fn layers_are_counted_by_cause_and_the_first_of_an_image_is_remembered() {
    let hand_overs = HandOvers::default();
    let error = |cause, text: &str, follows| RemoteError { follows, ..RemoteError::new(cause, text) };
    hand_overs.note(&error(Cause::Denied, "first", false));
    hand_overs.note(&error(Cause::Denied, "second", true));
    hand_overs.note(&error(Cause::NoSource, "built here", false));
    assert_eq!(hand_overs.counts(), [(Cause::NoSource, 1), (Cause::Denied, 2)]);
    let last = hand_overs.last().unwrap();
    assert_eq!((last.cause, last.text.as_str()), (Cause::Denied, "first"));
}
