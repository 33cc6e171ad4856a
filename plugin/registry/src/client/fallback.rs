//! The hosts that serve a reference, one after the other, until one has what is wanted.

use std::sync::Arc;
use std::time::Instant;

use http::header::RANGE;

use super::{Get, Inner, Target};
use crate::error::{ErrorKind, Failure, RegistryError, Subject};
use crate::hosts::Endpoint;
use crate::transport::Reply;

/// What stands for "any range of anything" in the memory of what mirrors lack.
const ANY_RANGE: &str = "#ranges";

impl Inner {
    /// GETs `kind`/`name` of a repository from the first of its hosts that serves it: a success (200 or 206)
    /// without content encoding. Mirrors come first, those that failed lately last.
    ///
    /// # Errors
    ///
    /// When no host serves it: what the last one in the order of the configuration said, which is the registry
    /// itself, with what the others said in its text.
    pub(crate) async fn get(
        &self,
        target: &Target,
        (kind, name): (&str, &str),
        get: impl Into<Get>,
        subject: &Subject,
    ) -> Result<Reply, RegistryError> {
        let endpoints = self.hosts.endpoints(&target.host, subject).await?;
        let get = get.into();
        let ranged = get.headers.contains_key(RANGE);
        // Only hosts that may resolve know what a tag means.
        let tag = kind == "manifests" && !name.contains(':');
        let able: Vec<&Arc<Endpoint>> = endpoints
            .iter()
            .filter(|e| if tag { e.capabilities.resolve } else { e.capabilities.pull })
            .collect();
        let item = item(target, name);
        let order = self.order(&able, &item, ranged);
        let Some(last) = able.last() else {
            let capability = if tag { "resolve" } else { "pull" };
            let (place, reason) =
                ("hosts.toml".to_owned(), format!("no host has the capability {capability:?}"));
            return Err(subject.error(Failure::HostConfig { place, reason }));
        };
        let mut failed: Vec<(&Arc<Endpoint>, RegistryError)> = Vec::new();
        let segments = [kind, name];
        for endpoint in order {
            let own = Subject { host: endpoint.host.clone(), what: subject.what.clone() };
            let place = (target.repository.as_str(), &segments[..]);
            match self.get_from(endpoint, place, get.clone(), &own).await {
                Ok(mut reply) => {
                    if able.len() > 1 {
                        self.hosts.health.served(&endpoint.name, Instant::now());
                        reply.body_mut().watch(Arc::clone(&self.hosts.health), Arc::clone(&endpoint.name));
                    }
                    return Ok(reply);
                }
                Err(error) => {
                    if able.len() > 1 {
                        self.note(endpoint, &item, ranged, &error);
                    }
                    failed.push((endpoint, error));
                }
            }
        }
        Err(verdict(last, failed).unwrap_or_else(|| subject.request("none of its hosts was asked")))
    }

    /// Who is asked, in this order: not those that are known to lack it, those that failed lately last.
    fn order<'a>(&self, able: &[&'a Arc<Endpoint>], item: &str, ranged: bool) -> Vec<&'a Arc<Endpoint>> {
        let (health, now) = (&self.hosts.health, Instant::now());
        let Some((last, mirrors)) = able.split_last() else { return Vec::new() };
        let lacks = |endpoint: &Endpoint| {
            let absent = |item: &str| health.is_absent(&endpoint.name, item, now);
            absent(item) || (ranged && (absent(&format!("{item}#range")) || absent(ANY_RANGE)))
        };
        let mut order: Vec<_> = mirrors.iter().copied().filter(|mirror| !lacks(mirror)).collect();
        // The registry itself is always asked.
        order.push(last);
        order.sort_by_key(|endpoint| health.rests(&endpoint.name, now));
        order
    }

    /// Remembers why a host did not serve.
    fn note(&self, endpoint: &Endpoint, item: &str, ranged: bool, error: &RegistryError) {
        let (health, now) = (&self.hosts.health, Instant::now());
        let range_refused = error.kind() == ErrorKind::RangeUnsupported;
        match error.kind() {
            ErrorKind::Transient => {
                if let Some(pause) = health.failed(&endpoint.name, error.retry_after(), now) {
                    let (host, seconds) = (&endpoint.host, pause.as_secs());
                    tracing::warn!(host, seconds, %error, "passing over a host for a while");
                }
                return;
            }
            ErrorKind::RangeUnsupported if ranged && error.is_about_one_blob() => {
                health.lacks(&endpoint.name, &format!("{item}#range"), now);
            }
            ErrorKind::RangeUnsupported if ranged => health.lacks(&endpoint.name, ANY_RANGE, now),
            _ => health.lacks(&endpoint.name, item, now),
        }
        tracing::debug!(host = endpoint.host, %error, range_refused, "asking the next host");
    }

    /// Called after wrong bytes: makes `name` come from the registry itself for a while. True when a mirror may
    /// have served them, so that another try can help.
    pub(crate) async fn distrust_mirrors(&self, target: &Target, name: &str, subject: &Subject) -> bool {
        let Ok(endpoints) = self.hosts.endpoints(&target.host, subject).await else { return false };
        let (health, now, item) = (&self.hosts.health, Instant::now(), item(target, name));
        let Some((_, mirrors)) = endpoints.split_last() else { return false };
        let mut any = false;
        for mirror in mirrors.iter().filter(|mirror| mirror.capabilities.pull) {
            if !health.is_absent(&mirror.name, &item, now) {
                any = true;
                health.lied(&mirror.name, &item, now);
            }
        }
        if any {
            let host = &target.host;
            tracing::warn!(host, name, "a mirror may have served wrong bytes; asking the registry itself");
        }
        any
    }
}

fn item(target: &Target, name: &str) -> String {
    format!("{}/{}@{name}", target.host, target.repository)
}

/// The registry's own error, or else the last mirror's, with what the others said.
fn verdict(last: &Arc<Endpoint>, failed: Vec<(&Arc<Endpoint>, RegistryError)>) -> Option<RegistryError> {
    let own = failed.iter().position(|(endpoint, _)| Arc::ptr_eq(endpoint, last)).unwrap_or(failed.len());
    let mut errors: Vec<RegistryError> = failed.into_iter().map(|(_, error)| error).collect();
    let own = if own < errors.len() { errors.remove(own) } else { errors.pop()? };
    Some(errors.iter().fold(own, RegistryError::after))
}
