//! What a failed exchange means: the certificate, the protocol, the address, or only the moment.

use std::error::Error;
use std::io;

use crate::error::Failure;

/// Sorts a failed exchange. `answered`: the host has answered before, so that its address is right. The URL is left
/// out of the text: a redirect's may be signed.
pub(super) fn failure(error: reqwest::Error, answered: bool) -> Failure {
    let error = error.without_url();
    if let Some(tls) = find::<rustls::Error>(&error) {
        return of_tls(tls);
    }
    let text = text(&error);
    match error.is_connect() && !answered {
        true => Failure::Unreachable(text),
        false => Failure::Transport(text),
    }
}

/// The first error of type `E` among `error` and its causes, also inside I/O errors.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref::<E>() {
            return Some(found);
        }
        // An I/O error gives the cause of what is in it, but not that itself.
        if let Some(inner) = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return find(inner);
        }
        next = cause.source();
    }
    None
}

fn of_tls(error: &rustls::Error) -> Failure {
    use rustls::{AlertDescription, Error, InvalidMessage};
    match error {
        Error::InvalidCertificate(reason) => Failure::Certificate(crate::hosts::describe(reason)),
        Error::NoCertificatesPresented => Failure::Certificate("it shows none".to_owned()),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => {
                Failure::Handshake("it does not take our client certificate, or wants one".to_owned())
            }
            AlertDescription::InternalError | AlertDescription::UserCanceled => {
                Failure::Transport(format!("TLS: {error}"))
            }
            _ => Failure::Handshake(error.to_string()),
        },
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            Failure::Handshake("what it answers is not TLS".to_owned())
        }
        Error::PeerIncompatible(_) | Error::PeerMisbehaved(_) | Error::InvalidMessage(_) => {
            Failure::Handshake(error.to_string())
        }
        _ => Failure::Transport(format!("TLS: {error}")),
    }
}

/// The layers of the HTTP library, which say nothing that their causes do not.
const LAYERS: [&str; 5] = [
    "error sending request",
    "client error (",
    "error decoding response body",
    "request or response body error",
    "error reading a body from connection",
];

/// The causes that say something.
pub(super) fn text(error: &reqwest::Error) -> String {
    let mut cause: &(dyn Error + 'static) = error;
    while let Some(inner) = cause.source() {
        let shown = cause.to_string();
        if !LAYERS.iter().any(|layer| shown.starts_with(layer)) {
            break;
        }
        cause = inner;
    }
    crate::error::causes(cause)
}
