//! [`AwsSecretsManager`]: secrets that live in AWS Secrets Manager.

mod api;
mod external;
mod list;
mod metadata;
mod names;
mod options;
mod probe;
mod read;
mod value;
mod version;
mod write;

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use async_trait::async_trait;
use futures_util::lock::{Mutex, MutexGuard};
use strongroom_core::{
    Capabilities, Error, ErrorKind, Listing, Metadata, MetadataChange, Page, PageRequest,
    PutOptions, Result, Scope, Secret, SecretBytes, SecretName, SecretStore, Select, VersionInfo,
};

use self::api::Api;
use self::names::Names;
use crate::connection::Aws;

pub use self::external::AwsExternalSecrets;
pub use self::options::{SecretsManagerOptions, UpdateBy};

/// Swaps and changes of metadata of one secret wait for each other; secrets share this
/// many locks.
const LOCKS: usize = 64;

/// The secrets of an account as secrets of AWS, one each, which AWS encrypts and whose
/// versions are AWS's versions. Whatever reads AWS Secrets Manager can read them, and
/// what it writes there is a new version here.
///
/// # What AWS does its own way
/// - The latest version is the one labelled `AWSCURRENT`. Whoever moves that label back
///   makes an older version the latest.
/// - AWS removes versions when there are more than 100, but none that is younger than a
///   day; and it says so little of a version of somebody else's making that it is listed
///   as a text, whatever it is.
/// - AWS cannot remove one version. A swap ([`Expect::Latest`]) writes its version first,
///   and then takes `AWSCURRENT` from the version that it expects. One that loses there
///   to another process leaves a version that nobody was told of: a label hides it from
///   `versions`, for the last eight of a secret.
/// - A value and metadata are changed by separate calls. Of a put with both to a secret
///   that exists, an error may come after the value was written.
/// - Lists of AWS may be minutes late (API reference, `ListSecrets`). They have no order
///   of ours, so that each page of `list` reads all of its scope, and keeps one page in
///   memory.
/// - What it sends, the AWS client holds in memory of its own; it is wiped where the
///   process runs on a wiping allocator.
///
/// [`Expect::Latest`]: strongroom_core::Expect::Latest
pub struct AwsSecretsManager {
    api: Api,
    names: Names,
    options: SecretsManagerOptions,
    description: String,
    locks: Box<[Mutex<()>]>,
    hasher: RandomState,
}

impl AwsSecretsManager {
    /// The store that `options` describe. Nothing is asked yet.
    ///
    /// # Errors
    /// `Configuration` if options contradict each other, or AWS takes no such names;
    /// `InvalidName` if the account is none.
    pub fn new(aws: &Aws, options: SecretsManagerOptions) -> Result<Self> {
        let names = options.names()?;
        let api = Api::new(aws);
        let below = names.below(None)?;
        let description = format!("AWS Secrets Manager in {} below {below}", api.region());
        let locks = (0..LOCKS).map(|_| Mutex::new(())).collect();
        Ok(Self { api, names, options, description, locks, hasher: RandomState::new() })
    }

    async fn lock(&self, name: &SecretName) -> MutexGuard<'_, ()> {
        let index = self.hasher.hash_one(name) % LOCKS as u64;
        self.locks[index as usize].lock().await
    }

    /// Names operation, secret and store in an error.
    fn place<'a>(
        &'a self,
        operation: &'static str,
        name: &'a SecretName,
    ) -> impl Fn(Error) -> Error + 'a {
        move |error| error.during(operation).about(name).in_store(&self.description)
    }

    /// Asks for a secret that cannot be: whoever may read here is told that it is not
    /// there.
    async fn probe(&self) -> Result<Vec<String>> {
        let (below, nobody) = (self.names.below(None)?, self.names.of_no_secret()?);
        let current = api::Which::Stage(api::CURRENT.to_owned());
        for answer in [
            self.api.value(&nobody, &current).await.map(drop),
            self.api.describe(&nobody).await.map(drop),
        ] {
            match answer {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    return Err(Error::configuration(format!("somebody made a secret {nobody}")));
                }
            }
        }
        self.api.list(&below, true, None, 1).await?;
        let kept = match self.options.window_days() {
            Some(days) => format!("deleted secrets: kept for {days} days"),
            None => "deleted secrets: gone at once".to_owned(),
        };
        Ok(vec![
            format!("secrets: {}; reading and listing is allowed", self.description),
            kept,
            format!("account: {}", self.options.account),
        ])
    }
}

#[async_trait]
impl SecretStore for AwsSecretsManager {
    fn describe(&self) -> &str {
        &self.description
    }

    fn capabilities(&self) -> Capabilities {
        let has_window = self.options.window_days().is_some();
        Capabilities {
            write: true,
            versions: true,
            compare_and_swap: true,
            soft_delete: has_window,
            restore: has_window,
            purge: true,
            list: true,
            names: true,
            seal: false,
            transfer: false,
            metadata: true,
            references: false,
            max_value_bytes: value::MAX_BYTES,
            max_file_bytes: value::MAX_BYTES as u64,
        }
    }

    async fn put(
        &self,
        name: &SecretName,
        value: &SecretBytes,
        options: &PutOptions,
    ) -> Result<VersionInfo> {
        self.put_version(name, value, options).await.map_err(self.place("put", name))
    }

    async fn get(&self, name: &SecretName, select: &Select) -> Result<Secret> {
        self.read(name, select).await.map_err(self.place("get", name))
    }

    async fn get_many(&self, wanted: &[(&SecretName, &Select)]) -> Vec<Result<Secret>> {
        self.read_many(wanted).await
    }

    async fn versions(&self, name: &SecretName, page: &PageRequest) -> Result<Page<VersionInfo>> {
        self.list_versions(name, page).await.map_err(self.place("list versions of", name))
    }

    async fn list(
        &self,
        scope: &Scope,
        include_deleted: bool,
        page: &PageRequest,
    ) -> Result<Page<Listing>> {
        let found = self.list_scope(scope, include_deleted, page).await;
        found.map_err(|error| error.during("list").in_store(&self.description))
    }

    async fn names(&self, scope: Option<&Scope>, page: &PageRequest) -> Result<Page<SecretName>> {
        let found = self.list_names(scope, page).await;
        found.map_err(|error| error.during("list names").in_store(&self.description))
    }

    async fn change_metadata(
        &self,
        name: &SecretName,
        change: &MetadataChange,
    ) -> Result<Metadata> {
        self.redescribe(name, change).await.map_err(self.place("describe", name))
    }

    async fn delete(&self, name: &SecretName) -> Result<()> {
        self.delete_secret(name).await.map_err(self.place("delete", name))
    }

    async fn restore(&self, name: &SecretName) -> Result<()> {
        self.restore_secret(name).await.map_err(self.place("restore", name))
    }

    async fn purge(&self, name: &SecretName) -> Result<()> {
        self.purge_secret(name).await.map_err(self.place("purge", name))
    }

    async fn check(&self) -> Result<Vec<String>> {
        let checked = self.probe().await;
        checked.map_err(|error| error.during("check").in_store(&self.description))
    }
}

impl fmt::Debug for AwsSecretsManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("AwsSecretsManager");
        out.field("store", &self.description).finish_non_exhaustive()
    }
}
