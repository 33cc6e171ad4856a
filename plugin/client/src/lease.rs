//! Leases: what keeps things from garbage collection until a label does.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use chunked_proto::containerd::services::leases::v1 as leases;
use chunked_proto::containerd::services::leases::v1::leases_client::LeasesClient;

use crate::error::ClientError;
use crate::session::Session;

/// Label of a lease: when it ends by itself, should we die.
const EXPIRE: &str = "containerd.io/gc.expire";

impl Session {
    /// The same namespace with a new lease, which keeps everything that is made through it. It ends after `lifetime` by itself.
    ///
    /// # Errors
    /// When containerd cannot be asked.
    pub async fn with_lease(&self, lifetime: Duration) -> Result<Self, ClientError> {
        let expire = prost_types::Timestamp::from(SystemTime::now() + lifetime).to_string();
        let labels = HashMap::from([(EXPIRE.to_owned(), expire)]);
        let id = format!("chunked-{}", unique());
        let mut client = LeasesClient::new(self.channel.clone());
        let request = self.request(leases::CreateRequest { id: id.clone(), labels });
        let answer = Self::call("Leases.Create", client.create(request)).await?;
        let id = answer.lease.map_or(id, |lease| lease.id);
        let header = id.parse().map_err(|_| ClientError::Namespace(id))?;
        Ok(self.leased(header))
    }

    /// Ends the lease. What no label and no other lease names is containerd's to collect then.
    ///
    /// # Errors
    /// When containerd cannot be asked; the lease ends by itself, later.
    pub async fn end_lease(self) -> Result<(), ClientError> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let id = lease.to_str().unwrap_or_default().to_owned();
        let mut client = LeasesClient::new(self.channel.clone());
        let request = self.request(leases::DeleteRequest { id, sync: false });
        Self::call("Leases.Delete", client.delete(request)).await.map(drop)
    }

    /// Puts a snapshot that was there before under the lease.
    pub(crate) async fn hold_snapshot(&self, snapshotter: &str, name: &str) -> Result<(), ClientError> {
        let Some(lease) = &self.lease else { return Ok(()) };
        let id = lease.to_str().unwrap_or_default().to_owned();
        let resource =
            Some(leases::Resource { id: name.to_owned(), r#type: format!("snapshots/{snapshotter}") });
        let mut client = LeasesClient::new(self.channel.clone());
        let request = self.request(leases::AddResourceRequest { id, resource });
        Self::call("Leases.AddResource", client.add_resource(request)).await.map(drop)
    }
}

/// A name that nobody else on this machine has.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}-{}", std::process::id(), now.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed))
}
