//! AWS, as moto serves it. In KMS, an alias for each directory, and the key behind it;
//! in Secrets Manager, names that begin with one for each directory.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use strongroom_aws::{
    Aws, AwsKms, AwsSecretsManager, AwsSettings, Credential, SecretsManagerOptions,
};
use strongroom_core::{Clock, KeyWrapper, Result, SecretBytes, SecretStore};
use strongroom_kit::block_on;
use strongroom_kit::conformance::secrets::ACCOUNT;
use strongroom_kit::moto::Moto;
use strongroom_kit::sha256_hex;

pub(crate) fn kms(path: &Path) -> Result<Arc<dyn KeyWrapper>> {
    let alias = alias(path);
    Moto::shared(within()).alias(&alias);
    Ok(Arc::new(block_on(AwsKms::open(aws(), &alias))?))
}

pub(crate) fn rotate(path: &Path) -> Result<()> {
    Moto::shared(within()).repoint(&alias(path));
    Ok(())
}

/// Whose clock it is, AWS does not ask.
pub(crate) fn secrets_manager(path: &Path, _: Arc<dyn Clock>) -> Result<Arc<dyn SecretStore>> {
    let mut options = SecretsManagerOptions::new(ACCOUNT);
    options.prefix = unique(path);
    Ok(Arc::new(AwsSecretsManager::new(aws(), options)?))
}

fn alias(path: &Path) -> String {
    format!("alias/{}", unique(path))
}

fn unique(path: &Path) -> String {
    sha256_hex(path.as_os_str().as_encoded_bytes())[..32].to_owned()
}

fn within() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn aws() -> &'static Aws {
    static AWS: OnceLock<Aws> = OnceLock::new();
    AWS.get_or_init(|| {
        let mut settings = AwsSettings::new("eu-central-1");
        settings.endpoint = Some(Moto::shared(within()).endpoint().to_owned());
        let secret = SecretBytes::copy_from(b"not-a-real-secret").expect("guarded memory");
        settings.credential = Credential::access_key("AKIDEXAMPLE", secret, None).expect("text");
        block_on(Aws::connect(&settings)).expect("settings")
    })
}
