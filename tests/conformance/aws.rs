//! AWS, as moto serves it, with signatures checked. In KMS, an alias for each directory, and the key behind it;
//! in Secrets Manager, names that begin with one for each directory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use strongroom_aws::{
    Aws, AwsKms, AwsSecretsManager, AwsSettings, Credential, KmsOptions, SecretsManagerOptions,
};
use strongroom_core::{Clock, KeyWrapper, Result, SecretBytes, SecretStore};
use strongroom_kit::block_on;
use strongroom_kit::conformance::secrets::ACCOUNT;
use strongroom_kit::moto::{ALLOW_ALL, AccessKey, Moto};
use strongroom_kit::sha256_hex;

/// The keys that an alias pointed at before.
static FORMER: Mutex<BTreeMap<String, Vec<String>>> = Mutex::new(BTreeMap::new());

const MEANS: &str = "import boto3, sys; \
    print(boto3.client('kms').describe_key(KeyId=sys.argv[1])['KeyMetadata']['Arn'], end='')";

pub(crate) fn kms(path: &Path) -> Result<Arc<dyn KeyWrapper>> {
    let alias = alias(path);
    moto().0.alias(&alias);
    let mut options = KmsOptions::default();
    options.former_keys = FORMER.lock().expect("no panic").get(&alias).cloned().unwrap_or_default();
    Ok(Arc::new(AwsKms::new(aws(), &alias, options)?))
}

#[allow(clippy::unnecessary_wraps, reason = "as every other backend")]
pub(crate) fn rotate(path: &Path) -> Result<()> {
    let (moto, alias) = (&moto().0, alias(path));
    let means = moto.boto3(MEANS, &[&alias]);
    FORMER.lock().expect("no panic").entry(alias.clone()).or_default().push(means);
    moto.repoint(&alias);
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

/// One that checks signatures.
fn moto() -> &'static (Moto, AccessKey) {
    static MOTO: OnceLock<(Moto, AccessKey)> = OnceLock::new();
    MOTO.get_or_init(|| Moto::with_auth(Path::new(env!("CARGO_TARGET_TMPDIR")), ALLOW_ALL))
}

fn aws() -> &'static Aws {
    static AWS: OnceLock<Aws> = OnceLock::new();
    AWS.get_or_init(|| {
        let mut settings = AwsSettings::new("eu-central-1");
        let (moto, user) = moto();
        settings.endpoint = Some(moto.endpoint().to_owned());
        let secret = SecretBytes::copy_from(user.secret.as_bytes()).expect("guarded memory");
        settings.credential = Credential::access_key(&user.id, secret, None).expect("text");
        block_on(Aws::connect(&settings)).expect("settings")
    })
}
