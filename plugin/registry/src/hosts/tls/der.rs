//! Two places in a certificate's DER (RFC 5280, section 4.1): what is signed, and the word that it is a CA.
//!
//! Only finds them. Whoever uses what stands there has it parsed in full by webpki.

use std::ops::Range;

/// `SEQUENCE`.
const SEQUENCE: u8 = 0x30;
/// `BOOLEAN`.
const BOOLEAN: u8 = 0x01;
/// `OBJECT IDENTIFIER`.
const OID: u8 = 0x06;
/// `OCTET STRING`.
const OCTETS: u8 = 0x04;
/// `[3] EXPLICIT`, the extensions of what is signed.
const EXTENSIONS: u8 = 0xa3;
/// id-ce-basicConstraints.
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 0x13];

/// One value: its tag, where it is with its header, and where its content is.
struct Value {
    tag: u8,
    whole: Range<usize>,
    content: Range<usize>,
}

/// The value at `at`, which must end inside `within`.
fn value(der: &[u8], at: usize, within: usize) -> Option<Value> {
    let (tag, first) = (*der.get(at)?, *der.get(at + 1)?);
    let (length, start) = match first {
        short @ 0..=0x7f => (usize::from(short), at + 2),
        long @ 0x81..=0x83 => {
            let start = at + 2 + usize::from(long & 0x7f);
            let bytes = der.get(at + 2..start)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), start)
        }
        _ => return None,
    };
    let end = start.checked_add(length).filter(|end| *end <= within)?;
    Some(Value { tag, whole: at..end, content: start..end })
}

/// The values inside `range`, one after the other, as far as they are well-formed.
fn values(der: &[u8], range: Range<usize>) -> impl Iterator<Item = Value> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let next = (at < range.end).then(|| value(der, at, range.end)).flatten()?;
        at = next.whole.end;
        Some(next)
    })
}

/// Where the signed part of a certificate is, with its header.
pub(super) fn signed(der: &[u8]) -> Option<Range<usize>> {
    let certificate = value(der, 0, der.len()).filter(|value| value.tag == SEQUENCE)?;
    values(der, certificate.content).next().filter(|value| value.tag == SEQUENCE).map(|value| value.whole)
}

/// Where the byte is that says that a certificate is one of a CA; `None` when it does not say so.
pub(super) fn ca_flag(der: &[u8]) -> Option<usize> {
    let signed = signed(der)?;
    let signed = value(der, signed.start, signed.end)?.content;
    let explicit = values(der, signed).find(|value| value.tag == EXTENSIONS)?;
    let list = values(der, explicit.content).next().filter(|value| value.tag == SEQUENCE)?;
    for extension in values(der, list.content) {
        let mut members = values(der, extension.content);
        let id = members.next().filter(|value| value.tag == OID)?;
        if der.get(id.content)? != BASIC_CONSTRAINTS {
            continue;
        }
        let octets = members.find(|value| value.tag == OCTETS)?;
        let constraints = values(der, octets.content).next().filter(|value| value.tag == SEQUENCE)?;
        let flag = values(der, constraints.content).next().filter(|value| value.tag == BOOLEAN)?;
        return Some(flag.content.start).filter(|at| flag.content.len() == 1 && der.get(*at) == Some(&0xff));
    }
    None
}
