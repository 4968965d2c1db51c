//! `Put`, `Describe`, `Delete`, `Restore` and `Purge`.

use strongroom::config::Verb;
use strongroom::{Kind, MetadataChange, PutOptions, Result, SecretBytes};
use strongroom_rpc::v1::put_request;
use strongroom_rpc::{
    kind_from_wire, kind_to_wire, metadata_from_wire, metadata_to_wire, missing_to_wire, timestamp,
    v1,
};

use super::{Counted, Service, expect};

impl Service {
    pub(super) async fn write(
        &self,
        counted: Counted,
        request: v1::PutRequest,
    ) -> Result<v1::PutResponse> {
        let v1::PutRequest { name, value, kind, scope, expect: expected, metadata, .. } = request;
        let unchecked_reference = request.unchecked_reference;
        // Into guarded memory first: whatever follows, the wire's copy is gone.
        let value = {
            let wire = value;
            SecretBytes::copy_from(&wire)?
        };
        let session = self.session();
        let during = |e: strongroom::Error| e.during(Verb::Put.as_str());
        let (engine, name) = Self::admit(&session, Verb::Put, &scope, &name).await?;
        let (absent, version) = match &expected {
            Some(put_request::Expect::IfAbsent(absent)) => (Some(*absent), None),
            Some(put_request::Expect::IfVersion(version)) => (None, Some(version.as_str())),
            None => (None, None),
        };
        let options = PutOptions {
            kind: kind_from_wire(kind, Kind::Text).map_err(during)?,
            expect: expect(absent, version).map_err(during)?,
            metadata: metadata.map(metadata_from_wire).transpose().map_err(during)?,
            unchecked_reference,
        };
        let put = {
            let name = name.clone();
            async move { engine.put(&name, &value, &options).await }
        };
        let info = self
            .change(counted, &name, v1::Change::Put, put, |info| Some(info.version.clone()))
            .await?;
        Ok(v1::PutResponse {
            version: info.version.to_string(),
            kind: kind_to_wire(info.kind),
            created: Some(timestamp(info.created)),
            missing_keks: missing_to_wire(&info.missing_keks),
        })
    }

    pub(super) async fn redescribe(
        &self,
        counted: Counted,
        request: v1::DescribeRequest,
    ) -> Result<v1::DescribeResponse> {
        let session = self.session();
        let v1::DescribeRequest { name, scope, replace, description, remove, tags } = request;
        let (engine, name) = Self::admit(&session, Verb::Put, &scope, &name).await?;
        let (remove, tags) = (remove.into_iter().collect(), tags.into_iter().collect());
        let change = MetadataChange { replace, description, remove, tags };
        let work = {
            let name = name.clone();
            async move { engine.describe(&name, &change).await }
        };
        let now = self.change(counted, &name, v1::Change::Described, work, |_| None).await?;
        Ok(v1::DescribeResponse { metadata: Some(metadata_to_wire(&now)) })
    }

    pub(super) async fn hide(
        &self,
        counted: Counted,
        request: v1::DeleteRequest,
    ) -> Result<v1::DeleteResponse> {
        let session = self.session();
        let (engine, name) =
            Self::admit(&session, Verb::Delete, &request.scope, &request.name).await?;
        let work = {
            let name = name.clone();
            async move { engine.delete(&name).await }
        };
        self.change(counted, &name, v1::Change::Deleted, work, |()| None).await?;
        Ok(v1::DeleteResponse {})
    }

    pub(super) async fn bring_back(
        &self,
        counted: Counted,
        request: v1::RestoreRequest,
    ) -> Result<v1::RestoreResponse> {
        let session = self.session();
        let (engine, name) =
            Self::admit(&session, Verb::Restore, &request.scope, &request.name).await?;
        let work = {
            let name = name.clone();
            async move { engine.restore(&name).await }
        };
        self.change(counted, &name, v1::Change::Restored, work, |()| None).await?;
        Ok(v1::RestoreResponse {})
    }

    pub(super) async fn remove(
        &self,
        counted: Counted,
        request: v1::PurgeRequest,
    ) -> Result<v1::PurgeResponse> {
        let session = self.session();
        let (engine, name) =
            Self::admit(&session, Verb::Purge, &request.scope, &request.name).await?;
        let work = {
            let name = name.clone();
            async move { engine.purge(&name).await }
        };
        self.change(counted, &name, v1::Change::Purged, work, |()| None).await?;
        Ok(v1::PurgeResponse {})
    }
}
