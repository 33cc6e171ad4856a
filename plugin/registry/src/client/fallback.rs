//! The hosts that serve a reference, one after the other, until one has what is wanted.

use std::sync::Arc;
use std::time::Instant;

use http::header::RANGE;

use super::{Get, Inner, Target};
use crate::error::{ErrorKind, Failure, RegistryError, Said, Subject};
use crate::hosts::Endpoint;
use crate::transport::{Reply, Witness};

/// What stands for "any range of anything" in the memory of what mirrors lack.
const ANY_RANGE: &str = "#ranges";

/// What becomes of the hosts that were tried.
#[derive(Default)]
struct Failed {
    /// Mirrors that were not asked, because of what they said before.
    passed_over: Vec<Said>,
    /// Those that were asked.
    asked: Vec<(Arc<Endpoint>, RegistryError)>,
}

impl Inner {
    /// GETs `kind`/`name` of a repository from the first of its hosts that serves it: a success (200 or 206)
    /// without content encoding that `get` accepts. Mirrors come first, those that failed lately last.
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
        let mut failed = Failed::default();
        let order = self.order(&able, &item, ranged, &mut failed.passed_over);
        let Some(last) = able.last() else {
            let capability = if tag { "resolve" } else { "pull" };
            let (place, reason) =
                ("hosts.toml".to_owned(), format!("no host has the capability {capability:?}"));
            return Err(subject.error(Failure::HostConfig { place, reason }));
        };
        let segments = [kind, name];
        for endpoint in order {
            let own = Subject { host: endpoint.host.clone(), what: subject.what.clone() };
            let place = (target.repository.as_str(), &segments[..]);
            match self.get_from(endpoint, place, get.clone(), &own).await {
                Ok(mut reply) => {
                    if able.len() > 1 {
                        self.hosts.health.served(&endpoint.name, Instant::now());
                        let (health, name) = (Arc::clone(&self.hosts.health), Arc::clone(&endpoint.name));
                        // The registry itself is asked in any case.
                        let item = if Arc::ptr_eq(endpoint, last) { String::new() } else { item.clone() };
                        reply.body_mut().watch(Witness { health, name, item });
                    }
                    return Ok(reply);
                }
                Err(error) => {
                    if able.len() > 1 {
                        self.note(endpoint, &item, ranged, &error);
                    }
                    failed.asked.push((Arc::clone(endpoint), error));
                }
            }
        }
        Err(failed.verdict(last).unwrap_or_else(|| subject.request("none of its hosts was asked")))
    }

    /// Who is asked, in this order: not those that are known to lack it, whose reasons go to `passed_over`; those that
    /// failed lately last.
    fn order<'a>(
        &self,
        able: &[&'a Arc<Endpoint>],
        item: &str,
        ranged: bool,
        passed_over: &mut Vec<Said>,
    ) -> Vec<&'a Arc<Endpoint>> {
        let (health, now) = (&self.hosts.health, Instant::now());
        let Some((last, mirrors)) = able.split_last() else { return Vec::new() };
        let lacks = |endpoint: &Endpoint| {
            let absent = |item: &str| health.absent(&endpoint.name, item, now);
            let range = || absent(&format!("{item}#range")).or_else(|| absent(ANY_RANGE));
            absent(item).or_else(|| if ranged { range() } else { None })
        };
        let mut order: Vec<_> = Vec::new();
        for mirror in mirrors {
            match lacks(mirror) {
                Some(said) => passed_over.push(said),
                None => order.push(*mirror),
            }
        }
        // The registry itself is always asked.
        order.push(last);
        order.sort_by_key(|endpoint| health.rests(&endpoint.name, now));
        order
    }

    /// Remembers why a host did not serve.
    fn note(&self, endpoint: &Endpoint, item: &str, ranged: bool, error: &RegistryError) {
        let (health, now) = (&self.hosts.health, Instant::now());
        let range_refused = error.kind() == ErrorKind::RangeUnsupported;
        let host = &endpoint.host;
        match error.kind() {
            ErrorKind::Transient | ErrorKind::Unreachable => {
                if let Some(pause) = health.failed(&endpoint.name, error.retry_after(), now) {
                    let seconds = pause.as_secs();
                    tracing::warn!(host, seconds, %error, "passing over a host for a while");
                }
                return;
            }
            ErrorKind::RangeUnsupported if ranged && error.is_about_one_blob() => {
                health.lacks(&endpoint.name, &format!("{item}#range"), error.said(), now);
            }
            ErrorKind::RangeUnsupported if ranged => {
                health.lacks(&endpoint.name, ANY_RANGE, error.said(), now);
            }
            ErrorKind::NotFound => health.lacks(&endpoint.name, item, error.said(), now),
            // Not what a mirror that lacks something says: somebody has to set it up.
            _ => {
                health.lacks(&endpoint.name, item, error.said(), now);
                if health.is_news(&endpoint.name, now) {
                    tracing::warn!(host, %error, "a host does not serve; asking the next one");
                    return;
                }
            }
        }
        tracing::debug!(host, %error, range_refused, "asking the next host");
    }

    /// Called after wrong bytes: makes `name` come from the registry itself for a while. True when a mirror may
    /// have served them, so that another try can help.
    pub(crate) async fn distrust_mirrors(&self, target: &Target, name: &str, subject: &Subject) -> bool {
        let Ok(endpoints) = self.hosts.endpoints(&target.host, subject).await else { return false };
        let (health, now, item) = (&self.hosts.health, Instant::now(), item(target, name));
        let Some((_, mirrors)) = endpoints.split_last() else { return false };
        let mut any = false;
        for mirror in mirrors.iter().filter(|mirror| mirror.capabilities.pull) {
            if health.absent(&mirror.name, &item, now).is_none() {
                any = true;
                let said = Said {
                    host: mirror.host.as_str().into(),
                    reason: "it may have served wrong bytes".into(),
                };
                health.lied(&mirror.name, &item, said, now);
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

impl Failed {
    /// The registry's own error, or else the last mirror's, with what the others said.
    fn verdict(self, last: &Arc<Endpoint>) -> Option<RegistryError> {
        let mut asked = self.asked;
        let own = asked.iter().position(|(endpoint, _)| Arc::ptr_eq(endpoint, last));
        let own = match own {
            Some(own) => asked.remove(own).1,
            None => asked.pop()?.1,
        };
        let others = self.passed_over.into_iter().chain(asked.iter().map(|(_, error)| error.said()));
        Some(others.fold(own, RegistryError::after))
    }
}
