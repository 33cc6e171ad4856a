//! Chains that were adopted before the state database was lost, and that containerd still knows by name.

use chunked_core::Digest;

use super::Adoption;
use crate::error::StoreError;
use crate::layer::Flavour;
use crate::snapshot::Labels;
use crate::store::Store;

/// A layer of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainLayer {
    /// Digest of its tar.
    pub diff_id: Digest,
    /// ChainID of it and all below.
    pub chain_id: Digest,
}

impl Store {
    /// Makes the layers of `chain`, lowest first, committed snapshots again, the highest one under the name `name`, which
    /// containerd knows. All of them must be here; else nothing is made, and the DiffID of the lowest that is not is given.
    /// On disk when this returns.
    ///
    /// # Errors
    /// As [`Store::adopt`]; snapshots of lower layers may have been made then.
    pub fn adopt_again(&self, name: &str, chain: &[ChainLayer]) -> Result<Option<Digest>, StoreError> {
        let mut pins = Vec::new();
        for (index, layer) in chain.iter().enumerate() {
            let flavour = if index == 0 { Flavour::Base } else { Flavour::Upper };
            match self.layer(&layer.diff_id, flavour)? {
                Some(pin) => pins.push(pin),
                None => return Ok(Some(layer.diff_id)),
            }
        }
        let labels = Labels::new();
        let mut parent: Option<String> = None;
        for (index, (pin, layer)) in pins.iter().zip(chain).enumerate() {
            let target = layer.chain_id.to_string();
            let adoption = Adoption { target: &target, parent: parent.as_deref(), labels: &labels };
            let known_as = (index + 1 == chain.len()).then_some(name);
            parent = Some(self.adopt_as(pin, &adoption, known_as)?.name);
        }
        Ok(None)
    }
}
