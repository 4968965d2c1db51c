//! `Debug` of the messages that carry values: what else is in them, never the
//! value.

use std::fmt;

use crate::v1::{
    BatchGetResult, DownloadResponse, GetResponse, OpenResponse, PutRequest, RenderRequest,
    RenderResponse, SealRequest, UploadRequest, batch_get_result, download_response, put_request,
    upload_request,
};

macro_rules! redacted {
    ($($message:ty { $($field:ident),* $(,)? })*) => {
        $(impl fmt::Debug for $message {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut out = f.debug_struct(stringify!($message));
                $(out.field(stringify!($field), &self.$field);)*
                out.finish_non_exhaustive()
            }
        })*
    };
}

redacted! {
    GetResponse { version, kind, created, age, stale }
    PutRequest { name, scope, kind, expect, metadata, unchecked_reference }
    SealRequest { name, scope, context }
    OpenResponse {}
    RenderRequest { scope }
    RenderResponse {}
    BatchGetResult { result }
    UploadRequest { part }
    DownloadResponse { part }
}

impl fmt::Debug for put_request::Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IfAbsent(absent) => write!(f, "IfAbsent({absent})"),
            Self::IfVersion(version) => write!(f, "IfVersion({version:?})"),
        }
    }
}

impl fmt::Debug for upload_request::Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(start) => f.debug_tuple("Start").field(start).finish(),
            Self::Chunk(chunk) => write!(f, "Chunk({} bytes)", chunk.len()),
        }
    }
}

impl fmt::Debug for download_response::Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(start) => f.debug_tuple("Start").field(start).finish(),
            Self::Chunk(chunk) => write!(f, "Chunk({} bytes)", chunk.len()),
        }
    }
}

impl fmt::Debug for batch_get_result::Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(secret) => f.debug_tuple("Secret").field(secret).finish(),
            Self::Error(error) => f.debug_tuple("Error").field(error).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::v1;

    #[test]
    fn debug_shows_no_value() {
        let value = Bytes::from_static(b"canary");
        let get = GetResponse { value: value.clone(), version: "7".into(), ..Default::default() };
        let result = Some(batch_get_result::Result::Secret(get.clone()));
        let chunk = Some(upload_request::Part::Chunk(value.clone()));
        let down = Some(download_response::Part::Chunk(value.clone()));
        let shown = [
            format!("{get:?}"),
            format!("{:?}", v1::BatchGetResult { result }),
            format!("{:?}", PutRequest { value: value.clone(), ..Default::default() }),
            format!("{:?}", SealRequest { value: value.clone(), ..Default::default() }),
            format!("{:?}", OpenResponse { value: value.clone() }),
            format!("{:?}", RenderRequest { template: value.clone(), ..Default::default() }),
            format!("{:?}", RenderResponse { text: value.clone() }),
            format!("{:?}", v1::UploadRequest { part: chunk }),
            format!("{:?}", v1::DownloadResponse { part: down }),
        ];
        for text in shown {
            // A byte string's Debug is text, a list of numbers would begin so.
            assert!(!text.contains("canary") && !text.contains("99, 97"), "a value is shown");
        }
        assert!(format!("{get:?}").contains("version: \"7\""));
    }
}
