//! What refers to a manifest: signatures, SBOMs (distribution spec, "Listing Referrers").

use chunked_core::ObjectDigest;
use http::header::{ACCEPT, CONTENT_TYPE, LINK};
use http::{HeaderMap, HeaderValue, StatusCode};
use url::Url;

use super::documents::{MAX_MANIFEST, subject};
use super::exchange::{Target, failure};
use super::{Client, Inner};
use crate::auth::Scope;
use crate::error::{ErrorKind, Failure, RegistryError, Subject};
use crate::hosts::{led_to, same_origin};
use crate::reference::Reference;
use crate::transport::{Ask, Reply};

/// Media type of an OCI index, which a list of referrers is.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Pages of a list that are read. Registries put 50 or more entries on a page.
const MAX_PAGES: usize = 100;
/// Bytes of all pages, of which each may have [`MAX_MANIFEST`].
const MAX_BYTES: usize = 16 << 20;

impl Client {
    /// The pages of the index of what refers to the manifest `digest`; `None` when the registry has no such list.
    ///
    /// Pages follow each other by `Link: <...>; rel="next"`. At most 100 are read, and 16 MiB; that there are more is
    /// logged. Credentials go to the registry's own host alone.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub async fn referrers(
        &self,
        reference: &Reference,
        digest: &ObjectDigest,
    ) -> Result<Option<Vec<Vec<u8>>>, RegistryError> {
        let target = self.inner.target(reference);
        let subject = subject(&target, format!("referrers of {digest}"));
        let name = digest.to_string();
        let mut reply = match self.inner.get(&target, ("referrers", &name), accept(), &subject).await {
            Ok(reply) => reply,
            // Registries that do not know the path answer in many ways.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if reply.status != StatusCode::OK {
            return Err(failure(reply, false, &subject).await);
        }
        if !is_index(&reply) {
            return Ok(None);
        }
        let mut pages = Vec::new();
        let mut bytes = 0;
        loop {
            let next = next(&reply.headers).map(|text| led_to(&reply.url, text)).transpose();
            let next = next.map_err(|reason| subject.error(Failure::Redirect(reason)))?;
            let page = reply.whole(MAX_MANIFEST, &subject).await?;
            bytes += page.len();
            pages.push(page);
            let Some(url) = next else { return Ok(Some(pages)) };
            if pages.len() >= MAX_PAGES || bytes >= MAX_BYTES {
                let (host, pages_read) = (&subject.host, pages.len());
                tracing::warn!(host, %digest, pages_read, "the list of referrers is too long: the rest is not read");
                return Ok(Some(pages));
            }
            reply = self.inner.page(&target, url, &subject).await?;
        }
    }
}

impl Inner {
    /// A further page of a list, which may be anywhere.
    async fn page(&self, target: &Target, url: Url, subject: &Subject) -> Result<Reply, RegistryError> {
        let endpoints = self.hosts.endpoints(&target.host, subject).await?;
        let ask = Ask::get(url, accept());
        let reply = match endpoints.iter().find(|endpoint| same_origin(&ask.url, &endpoint.base)) {
            Some(endpoint) => self.exchange(endpoint, ask, &Scope::pull(&target.repository), subject).await?,
            None => {
                let endpoint = endpoints.last().ok_or_else(|| subject.request("it has no host"))?;
                self.transport.send(&ask, &endpoint.for_others(), subject).await?
            }
        };
        let reply = self.success(reply, false, subject).await?;
        if is_index(&reply) { Ok(reply) } else { Err(subject.request("a further page is not an index")) }
    }
}

fn accept() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(INDEX))])
}

fn is_index(reply: &Reply) -> bool {
    let kind = reply.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with(INDEX))
}

/// The target of the first link with the relation `next` (RFC 8288).
fn next(headers: &HeaderMap) -> Option<&str> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(next_of)
}

fn next_of(mut links: &str) -> Option<&str> {
    // Targets have no `>` in them, so that commas in them do no harm.
    while let Some((target, rest)) = links.split_once('<')?.1.split_once('>') {
        // Parameters, up to the next link's target.
        let parameters = rest.split('<').next().unwrap_or_default();
        for parameter in parameters.split([';', ',']) {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            if name.trim().eq_ignore_ascii_case("rel")
                && relations.any(|one| one.eq_ignore_ascii_case("next"))
            {
                return Some(target);
            }
        }
        links = rest;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_the_next_page() {
        for (text, target) in [
            (r#"</v2/a/referrers/x?n=2>; rel="next""#, Some("/v2/a/referrers/x?n=2")),
            (r#"<?last=a,b>;rel=next"#, Some("?last=a,b")),
            (r#"<a>; title="x"; REL="prev Next""#, Some("a")),
            (r#"<a>; rel="prev", <b>; rel="next""#, Some("b")),
            (r#"<a>; rel="last""#, None),
            (r#"<a>; rel="next-but-one""#, None),
            ("<a", None),
            ("", None),
        ] {
            assert_eq!(next_of(text), target, "{text}");
        }
        let mut headers = HeaderMap::new();
        headers.append(LINK, HeaderValue::from_static("<a>; rel=prev"));
        headers.append(LINK, HeaderValue::from_static("<b>; rel=next"));
        assert_eq!(next(&headers), Some("b"));
    }
}
