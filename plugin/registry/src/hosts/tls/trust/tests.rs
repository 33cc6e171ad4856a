use std::time::Duration;

use rustls::pki_types::pem::PemObject;

use super::*;

/// A certificate of `tests/support/certificates`, which openssl made; all are valid from 2026 on for a hundred years.
fn pem(text: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap()
}

macro_rules! certificate {
    ($name:literal) => {
        ($name, pem(include_str!(concat!("../../../../tests/support/certificates/", $name, ".pem"))))
    };
}

type Named = (&'static str, CertificateDer<'static>);

fn all() -> Vec<Named> {
    vec![
        certificate!("self-signed-ca"),
        certificate!("self-signed-no-ca"),
        certificate!("self-signed-path-length"),
        certificate!("self-signed-for-clients"),
        certificate!("self-signed-for-all"),
        certificate!("self-signed-sha1"),
        certificate!("other-name"),
        certificate!("ca"),
        certificate!("ca-no-ca"),
        certificate!("ca-rsa-1024"),
        certificate!("intermediate"),
        certificate!("leaf"),
        certificate!("leaf-ca"),
        certificate!("leaf-weak"),
        certificate!("leaf-no-ca"),
        certificate!("leaf-ca-below"),
    ]
}

fn named(name: &str) -> CertificateDer<'static> {
    all().into_iter().find(|(found, _)| *found == name).unwrap().1
}

/// Years after 1970, roughly.
fn year(year: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600))
}

fn check(trusted: &[&str], shown: &[&str], name: &str, now: UnixTime) -> Result<(), String> {
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    let trusted: Vec<_> = trusted.iter().map(|name| named(name)).collect();
    let trust = Trust::of(trusted.iter(), algorithms);
    let shown: Vec<_> = shown.iter().map(|name| named(name)).collect();
    let (leaf, others) = shown.split_first().unwrap();
    let name = ServerName::try_from(name).unwrap();
    match trust.verify_for(leaf, others, &name, now) {
        Ok(()) => Ok(()),
        Err(Error::InvalidCertificate(reason)) => Err(describe(&reason)),
        Err(other) => panic!("{other}"),
    }
}

/// What Go 1.25 says of the same certificates is the same (`integration/suite/checks/registries`).
#[test]
fn certificates_as_go_trusts_them() {
    for (trusted, shown, expected) in [
        // Itself configured: whatever it says of itself, as long as it is for servers.
        (&["self-signed-ca"][..], &["self-signed-ca"][..], Ok(())),
        (&["self-signed-no-ca"], &["self-signed-no-ca"], Ok(())),
        (&["self-signed-path-length"], &["self-signed-path-length"], Ok(())),
        (&["self-signed-for-all"], &["self-signed-for-all"], Ok(())),
        (&["self-signed-sha1"], &["self-signed-sha1"], Ok(())),
        (&["leaf"], &["leaf"], Ok(())),
        (&["leaf-ca"], &["leaf-ca"], Ok(())),
        (&["self-signed-for-clients"], &["self-signed-for-clients"], Err("not for servers")),
        // Another one is not trusted for it.
        (&["ca"], &["self-signed-ca"], Err("no CA that is trusted")),
        (&["leaf"], &["leaf-ca"], Err("no CA that is trusted")),
        (&[], &["self-signed-ca"], Err("no CA that is trusted")),
        // Below a CA.
        (&["ca"], &["leaf"], Ok(())),
        (&["ca"], &["leaf-ca"], Ok(())),
        (&["ca-rsa-1024"], &["leaf-weak"], Ok(())),
        (&["ca"], &["leaf-ca-below", "intermediate"], Ok(())),
        (&["ca"], &["leaf-ca-below", "leaf", "intermediate", "ca"], Ok(())),
        (&["ca"], &["leaf-ca-below"], Err("no CA that is trusted")),
        (&["intermediate"], &["leaf-ca-below"], Ok(())),
        (&["self-signed-ca"], &["leaf"], Err("no CA that is trusted")),
        // What a server shows besides is not trusted for that.
        (&["self-signed-ca"], &["leaf", "ca"], Err("no CA that is trusted")),
    ] {
        let found = check(trusted, shown, "r.example", year(2030));
        match (&found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{shown:?}: {found}"),
            _ => panic!("{trusted:?} {shown:?}: {found:?}"),
        }
    }
}

#[test]
fn names_and_times_count_for_what_is_configured_too() {
    for trusted in [["self-signed-ca"], ["leaf"], ["leaf-ca"]] {
        for (name, now, expected) in [
            ("r.example", 2030, None),
            ("192.0.2.1", 2030, None),
            ("192.0.2.2", 2030, Some("not for 192.0.2.2")),
            ("s.example", 2030, Some("not for s.example")),
            ("r.example", 2000, Some("not valid yet")),
            ("r.example", 2200, Some("expired")),
        ] {
            let found = check(&trusted, &trusted, name, year(now));
            match (&found, expected) {
                (Ok(()), None) => {}
                (Err(found), Some(expected)) => assert!(found.contains(expected), "{found}"),
                _ => panic!("{trusted:?} {name} {now}: {found:?}"),
            }
        }
    }
    let found = check(&["other-name"], &["other-name"], "r.example", year(2030));
    assert_eq!(found, Err("it is not for r.example".to_owned()));
}

#[test]
fn a_changed_certificate_is_not_the_one_that_is_trusted() {
    let algorithms = rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
    for (trusted, shown) in [("self-signed-ca", "self-signed-ca"), ("ca", "leaf"), ("ca", "leaf-ca")] {
        let trust = Trust::of([named(trusted)].iter(), algorithms);
        let good = named(shown);
        for at in 0..good.len() {
            let mut bytes = good.to_vec();
            bytes[at] ^= 1;
            let bad = CertificateDer::from(bytes);
            assert!(
                trust.verify(&bad, &[], year(2030)).is_err(),
                "{shown} with another byte {at} is trusted"
            );
        }
        assert!(trust.verify(&good, &[], year(2030)).is_ok());
    }
}

#[test]
fn the_word_that_it_is_a_ca_is_found_where_it_stands() {
    for (name, certificate) in all() {
        let says = der::ca_flag(&certificate).is_some();
        let is = !["no-ca", "clients", "leaf", "leaf-weak"].iter().any(|end| name.ends_with(end));
        assert_eq!(says, is, "{name}");
    }
    let whole = named("self-signed-ca");
    for length in 0..whole.len() {
        assert_eq!(der::signed(&whole[..length]), None);
        assert_eq!(der::ca_flag(&whole[..length]), None);
    }
}
