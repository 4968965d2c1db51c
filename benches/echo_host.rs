//! The peer: tonic as it comes, on the same kind of socket and runtime, with the
//! same messages, answering every `Get` with the same 1 KiB and doing nothing.
//!
//! `echo-host SOCKET`; it ends with its standard input.

use std::io::Read;

use bytes::Bytes;
use strongroom_rpc::v1::strongroom_server::{Strongroom, StrongroomServer};
use strongroom_rpc::v1::{self, GetRequest, GetResponse};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

struct Echo(Bytes);

type Nothing<T> = tokio_stream::Empty<Result<T, Status>>;

fn none<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("an echo has nothing else"))
}

#[tonic::async_trait]
impl Strongroom for Echo {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let version = request.into_inner().name;
        let value = self.0.clone();
        Ok(Response::new(GetResponse { value, version, ..Default::default() }))
    }

    async fn batch_get(
        &self,
        _: Request<v1::BatchGetRequest>,
    ) -> Result<Response<v1::BatchGetResponse>, Status> {
        none()
    }

    async fn render(
        &self,
        _: Request<v1::RenderRequest>,
    ) -> Result<Response<v1::RenderResponse>, Status> {
        none()
    }

    async fn put(&self, _: Request<v1::PutRequest>) -> Result<Response<v1::PutResponse>, Status> {
        none()
    }

    async fn list(
        &self,
        _: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        none()
    }

    async fn versions(
        &self,
        _: Request<v1::VersionsRequest>,
    ) -> Result<Response<v1::VersionsResponse>, Status> {
        none()
    }

    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        none()
    }

    async fn delete(
        &self,
        _: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        none()
    }

    async fn restore(
        &self,
        _: Request<v1::RestoreRequest>,
    ) -> Result<Response<v1::RestoreResponse>, Status> {
        none()
    }

    async fn purge(
        &self,
        _: Request<v1::PurgeRequest>,
    ) -> Result<Response<v1::PurgeResponse>, Status> {
        none()
    }

    type WatchStream = Nothing<v1::WatchResponse>;

    async fn watch(
        &self,
        _: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        none()
    }

    async fn upload(
        &self,
        _: Request<Streaming<v1::UploadRequest>>,
    ) -> Result<Response<v1::UploadResponse>, Status> {
        none()
    }

    type DownloadStream = Nothing<v1::DownloadResponse>;

    async fn download(
        &self,
        _: Request<v1::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        none()
    }

    async fn seal(
        &self,
        _: Request<v1::SealRequest>,
    ) -> Result<Response<v1::SealResponse>, Status> {
        none()
    }

    async fn open(
        &self,
        _: Request<v1::OpenRequest>,
    ) -> Result<Response<v1::OpenResponse>, Status> {
        none()
    }

    async fn rotate(
        &self,
        _: Request<v1::RotateRequest>,
    ) -> Result<Response<v1::RotateResponse>, Status> {
        none()
    }

    type RewrapStream = Nothing<v1::TaskEvent>;

    async fn rewrap(
        &self,
        _: Request<v1::RewrapRequest>,
    ) -> Result<Response<Self::RewrapStream>, Status> {
        none()
    }

    type ReencryptStream = Nothing<v1::TaskEvent>;

    async fn reencrypt(
        &self,
        _: Request<v1::ReencryptRequest>,
    ) -> Result<Response<Self::ReencryptStream>, Status> {
        none()
    }

    type ReportKeysStream = Nothing<v1::TaskEvent>;

    async fn report_keys(
        &self,
        _: Request<v1::ReportKeysRequest>,
    ) -> Result<Response<Self::ReportKeysStream>, Status> {
        none()
    }

    type DestroyKeyVersionStream = Nothing<v1::TaskEvent>;

    async fn destroy_key_version(
        &self,
        _: Request<v1::DestroyKeyVersionRequest>,
    ) -> Result<Response<Self::DestroyKeyVersionStream>, Status> {
        none()
    }

    type MigrateStream = Nothing<v1::TaskEvent>;

    async fn migrate(
        &self,
        _: Request<v1::MigrateRequest>,
    ) -> Result<Response<Self::MigrateStream>, Status> {
        none()
    }

    type VerifyStream = Nothing<v1::TaskEvent>;

    async fn verify(
        &self,
        _: Request<v1::VerifyRequest>,
    ) -> Result<Response<Self::VerifyStream>, Status> {
        none()
    }

    type BackupStream = Nothing<v1::BackupResponse>;

    async fn backup(
        &self,
        _: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        none()
    }

    async fn status(
        &self,
        _: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        none()
    }

    async fn check(
        &self,
        _: Request<v1::CheckRequest>,
    ) -> Result<Response<v1::CheckResponse>, Status> {
        none()
    }
}

fn main() {
    let socket = std::env::args().nth(1).expect("a socket");
    // Ends with whoever started it.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = UnixListener::bind(socket).expect("bound");
        println!("ready");
        tonic::transport::Server::builder()
            .add_service(StrongroomServer::new(Echo(vec![7; 1 << 10].into())))
            .serve_with_incoming(UnixListenerStream::new(listener))
            .await
            .expect("served");
    });
}
