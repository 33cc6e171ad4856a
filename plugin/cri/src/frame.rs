//! The one message of a unary request (gRPC over HTTP/2, "Length-Prefixed-Message").

/// Bytes before a message: whether it is compressed, and its length.
const HEAD: usize = 5;

/// The message in `body`, if it is one, whole and not compressed. Otherwise it is for whom it was sent to.
pub(crate) fn message(body: &[u8]) -> Option<&[u8]> {
    let (head, message) = body.split_at_checked(HEAD)?;
    let [0, length @ ..] = head else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (u64::from(length) == message.len() as u64).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_whole_plain_message() {
        for (body, expected) in [
            (&b"\0\0\0\0\x02ab"[..], Some(&b"ab"[..])),
            (b"\0\0\0\0\0", Some(b"")),
            (b"\x01\0\0\0\x02ab", None),
            (b"\0\0\0\0\x03ab", None),
            (b"\0\0\0\0\x01ab", None),
            (b"\0\xff\xff\xff\xffab", None),
            (b"\0\0", None),
            (b"", None),
        ] {
            assert_eq!(message(body), expected, "{body:?}");
        }
    }
}
