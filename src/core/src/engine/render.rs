//! Texts with secrets in them.

use strongroom_guard::SecretBytes;

use super::Engine;
use crate::error::Result;
use crate::expression::Template;
use crate::store::Select;

impl Engine {
    /// Expands the expressions of `template`; see [`expression`](crate::expression)
    /// for how they are written. Each secret is read once, in its latest version,
    /// and recorded as a read.
    ///
    /// # Errors
    /// An expression that is not well-formed, or a name that this scope does not
    /// see, fails before anything is read. A secret that cannot be read fails the
    /// whole.
    pub async fn render(&self, template: &[u8]) -> Result<SecretBytes> {
        let operation = "render";
        let template = Template::parse(template).map_err(|error| error.during(operation))?;
        let wanted: Result<Vec<_>> = template
            .names()
            .iter()
            .map(|name| Ok((self.resolved(operation, name)?.into_owned(), Select::Latest)))
            .collect();
        let secrets: Result<Vec<_>> = self.get_all(&wanted?).await?.into_iter().collect();
        let secrets = secrets?;
        let values: Vec<_> = secrets.iter().map(|secret| secret.value.expose()).collect();
        template.expand(&values).map_err(|error| error.during(operation))
    }
}
