//! [`Keys`]: what requests are signed with, in guarded memory.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::attributes::AccountId;
use strongroom_core::{Error, Result, SecretBytes, Timestamp};

/// An access key, perhaps with a session token and for a while.
pub(crate) struct Keys {
    id: String,
    secret: SecretBytes,
    session_token: Option<SecretBytes>,
    account: Option<String>,
    /// When it ends.
    pub(super) ends: Option<Timestamp>,
}

impl Keys {
    /// # Errors
    /// `Configuration` if one of them is no printable text: a newline at the end of a
    /// file is a frequent reason.
    pub(crate) fn new(
        id: &str,
        secret: SecretBytes,
        session_token: Option<SecretBytes>,
        ends: Option<Timestamp>,
    ) -> Result<Self> {
        let is_text = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
        let parts = [
            ("id", Some(id.as_bytes())),
            ("secret", Some(secret.expose())),
            ("session token", session_token.as_ref().map(SecretBytes::expose)),
        ];
        for (part, bytes) in parts {
            if !bytes.is_none_or(is_text) {
                // Not which character: it would tell something of the value.
                return Err(Error::configuration(format!(
                    "the {part} of an access key is not printable text without blanks"
                )));
            }
        }
        Ok(Self { id: id.to_owned(), secret, session_token, account: None, ends })
    }

    /// Those that a provider of the client library gave.
    pub(super) fn of_sdk(given: &Credentials) -> Result<Self> {
        let secret = SecretBytes::copy_from(given.secret_access_key().as_bytes())?;
        // Some containers' providers write an empty one for none.
        let token = given.session_token().filter(|token| !token.is_empty());
        let token = token.map(|token| SecretBytes::copy_from(token.as_bytes()));
        let ends = given.expiry().map(timestamp);
        let mut keys = Self::new(given.access_key_id(), secret, token.transpose()?, ends)?;
        keys.account = given.account_id().map(|account| account.as_str().to_owned());
        Ok(keys)
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// For one request: the client library wipes it when it drops it.
    pub(super) fn for_sdk(&self) -> Credentials {
        // Printable text, as `new` has seen.
        let text = |bytes: &SecretBytes| String::from_utf8_lossy(bytes.expose()).into_owned();
        let mut keys = Credentials::builder()
            .access_key_id(&self.id)
            .secret_access_key(text(&self.secret))
            .provider_name("strongroom");
        keys.set_session_token(self.session_token.as_ref().map(text));
        keys.set_account_id(self.account.clone().map(AccountId::from));
        keys.build()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("id", &self.id).finish_non_exhaustive()
    }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
