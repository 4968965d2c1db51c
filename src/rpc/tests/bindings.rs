//! The checked-in bindings are those of the .proto files.
//!
//! After a change of a .proto file,
//! `STRONGROOM_UPDATE_BINDINGS=1 cargo test -p strongroom-rpc --test bindings`
//! writes them anew. No protoc is needed.

use std::path::Path;

use prost::Message;

/// Messages with values: their `Debug` is written by hand and shows none.
const WITH_VALUES: [&str; 9] = [
    ".strongroom.v1.GetResponse",
    ".strongroom.v1.PutRequest",
    ".strongroom.v1.UploadRequest",
    ".strongroom.v1.DownloadResponse",
    ".strongroom.v1.SealRequest",
    ".strongroom.v1.OpenResponse",
    ".strongroom.v1.BatchGetResult",
    ".strongroom.v1.RenderRequest",
    ".strongroom.v1.RenderResponse",
];

#[test]
fn the_bindings_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fresh = tempfile::tempdir().expect("a directory");
    let mut files = protox::compile(["strongroom/v1/strongroom.proto"], [root.join("proto")])
        .expect("the protocol compiles");
    tonic_prost_build::configure()
        .out_dir(fresh.path())
        .bytes(".")
        .skip_debug(WITH_VALUES)
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .compile_fds(files.clone())
        .expect("the bindings are generated");
    // Reflection has no use for comments.
    files.file.iter_mut().for_each(|file| file.source_code_info = None);
    std::fs::write(fresh.path().join("strongroom.v1.bin"), files.encode_to_vec()).expect("written");
    let update = std::env::var_os("STRONGROOM_UPDATE_BINDINGS").is_some();
    for file in ["strongroom.v1.rs", "strongroom.v1.bin"] {
        let (fresh, kept) = (fresh.path().join(file), root.join("src/generated").join(file));
        let fresh = std::fs::read(fresh).expect("generated");
        if update {
            std::fs::write(kept, fresh).expect("written");
            continue;
        }
        let kept = std::fs::read(kept).expect("checked in");
        assert!(fresh == kept, "src/generated/{file} is not current: see tests/bindings.rs");
    }
}
