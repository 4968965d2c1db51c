//! What `[[store.references]]` names, as something to read from.

use std::sync::Arc;

use strongroom_core::{ExternalStore, Result};

use crate::config::{Config, ExternalSection, ReferenceType};
#[cfg(feature = "local")]
use crate::references::OtherStrongroom;

impl Config {
    /// An external store. Nobody is asked yet: one that a connector reaches is connected
    /// for the first read.
    #[allow(clippy::unnecessary_wraps, reason = "not every build has every store")]
    pub(crate) fn external(&self, entry: &ExternalSection) -> Result<Arc<dyn ExternalStore>> {
        match entry.kind {
            #[cfg(feature = "local")]
            ReferenceType::Strongroom => Ok(Arc::new(OtherStrongroom::new(self, &entry.config))),
            #[cfg(not(feature = "local"))]
            ReferenceType::Strongroom => Err(strongroom_core::Error::unsupported(
                "this build has no embedded stores: its feature local is off",
            )),
            #[cfg(any(feature = "aws", feature = "vault"))]
            _ => Ok(Arc::new(connecting::Connecting::new(self, entry)?)),
        }
    }

    /// The same for a start. Where all is at hand it connects now, which tells mistakes. A
    /// store that another one has to answer for is no reason not to start.
    #[cfg(feature = "local")]
    #[allow(clippy::unused_async, reason = "without a backend nobody is asked")]
    pub(crate) async fn external_at_start(
        &self,
        entry: &ExternalSection,
    ) -> Result<Arc<dyn ExternalStore>> {
        match entry.kind {
            #[cfg(feature = "aws")]
            ReferenceType::AwsSecretsManager if self.has_secrets_for(entry) => {
                self.open_aws_external(entry).await
            }
            #[cfg(feature = "vault")]
            ReferenceType::VaultKv | ReferenceType::VaultDynamic if self.has_secrets_for(entry) => {
                self.open_vault_external(entry).await
            }
            _ => self.external(entry),
        }
    }
}

#[cfg(any(feature = "aws", feature = "vault"))]
mod connecting {
    use std::fmt;
    use std::sync::{Arc, Mutex, PoisonError};

    use async_trait::async_trait;
    use strongroom_core::{Error, ExternalStore, ExternalValue, Result};

    use crate::config::{Config, ExternalSection, ReferenceType};

    /// A store behind a connector, which connects for the first read; where that fails,
    /// for the next.
    pub(super) struct Connecting {
        config: Config,
        entry: ExternalSection,
        description: String,
        connected: Mutex<Option<Arc<dyn ExternalStore>>>,
    }

    impl Connecting {
        pub(super) fn new(config: &Config, entry: &ExternalSection) -> Result<Self> {
            let description = match entry.kind {
                ReferenceType::Strongroom => return Err(not_connected()),
                #[cfg(feature = "aws")]
                ReferenceType::AwsSecretsManager => {
                    let connector = config.aws.connector(entry.connector.as_deref())?;
                    format!("AWS Secrets Manager in {}", connector.region)
                }
                #[cfg(feature = "vault")]
                ReferenceType::VaultKv | ReferenceType::VaultDynamic => {
                    let connector = config.vault.connector(entry.connector.as_deref())?;
                    format!("Vault by connector {}", connector.name)
                }
            };
            let (config, entry) = (config.clone(), entry.clone());
            Ok(Self { config, entry, description, connected: Mutex::default() })
        }

        /// Two who connect at the same time do no harm.
        async fn connected(&self) -> Result<Arc<dyn ExternalStore>> {
            let connected = || self.connected.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(store) = &*connected() {
                return Ok(Arc::clone(store));
            }
            let store = match self.entry.kind {
                ReferenceType::Strongroom => return Err(not_connected()),
                #[cfg(feature = "aws")]
                ReferenceType::AwsSecretsManager => {
                    self.config.open_aws_external(&self.entry).await?
                }
                #[cfg(feature = "vault")]
                ReferenceType::VaultKv | ReferenceType::VaultDynamic => {
                    self.config.open_vault_external(&self.entry).await?
                }
            };
            *connected() = Some(Arc::clone(&store));
            Ok(store)
        }
    }

    /// Another strongroom is opened for each read.
    fn not_connected() -> Error {
        Error::internal("another strongroom has no connector")
    }

    #[async_trait]
    impl ExternalStore for Connecting {
        fn describe(&self) -> &str {
            &self.description
        }

        async fn read(&self, path: &str) -> Result<ExternalValue> {
            let store = self.connected().await.map_err(|error| error.in_store(&self.description));
            store?.read(path).await
        }
    }

    impl fmt::Debug for Connecting {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut out = f.debug_struct("Connecting");
            out.field("store", &self.description).finish_non_exhaustive()
        }
    }
}
