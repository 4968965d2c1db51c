//! `Render`.

use strongroom::config::Verb;
use strongroom::expression::Template;
use strongroom::{Result, SecretBytes};
use strongroom_rpc::v1;

use super::Service;
use super::reads::bytes_of;

impl Service {
    /// Each secret that the template names is a read of its own: the rules have to
    /// allow all before the first is made.
    pub(super) async fn render_template(
        &self,
        request: v1::RenderRequest,
    ) -> Result<v1::RenderResponse> {
        let operation = "render";
        let v1::RenderRequest { template, scope } = request;
        let template = {
            let wire = template;
            SecretBytes::copy_from(&wire)?
        };
        let session = self.session();
        let engine = session.engine_at(&scope).map_err(|error| error.during(operation))?;
        let names = Template::parse(template.expose())
            .map_err(|error| error.during(operation))?
            .names()
            .to_vec();
        for name in &names {
            Self::admit_in(&session, &engine, Verb::Get, name).await?;
        }
        let work = async move { engine.render(template.expose()).await };
        let text = self.look_up(&session, work).await?;
        Ok(v1::RenderResponse { text: bytes_of(text) })
    }
}
