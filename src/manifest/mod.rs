//! The manifest: `secrets.manifest.yaml`, read into types that cannot hold an invalid one.

mod model;
mod place;

pub use model::{
    Access, Become, BootDelivery, Dataset, DatasetFile, GitCredential, Host, ItemField, ItemRef, Manifest, Mode, Moved,
    RbwConfig, RecipientSource, RuntimeDelivery, Secret, Switch, Unlock, Vault,
};
pub use place::{Place, Surroundings, UnsetVariable};
