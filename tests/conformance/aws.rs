//! AWS KMS, as moto serves it: an alias for each directory, and the key behind it.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use strongroom_aws::{Aws, AwsKms, AwsSettings, Credential};
use strongroom_core::{KeyWrapper, Result, SecretBytes};
use strongroom_kit::block_on;
use strongroom_kit::digest::sha256_hex;
use strongroom_kit::moto::Moto;

pub(crate) fn kms(path: &Path) -> Result<Arc<dyn KeyWrapper>> {
    let alias = alias(path);
    Moto::shared(within()).alias(&alias);
    Ok(Arc::new(AwsKms::new(aws(), &alias, &[])?))
}

pub(crate) fn rotate(path: &Path) -> Result<()> {
    Moto::shared(within()).repoint(&alias(path));
    Ok(())
}

fn alias(path: &Path) -> String {
    format!("alias/{}", &sha256_hex(path.as_os_str().as_encoded_bytes())[..32])
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
