//! Replays the fuzz targets' corpus: what a fuzzer once found interesting, and
//! every finding that was ever fixed.

use std::path::Path;

use strongroom_kit::fuzz::TARGETS;

#[test]
fn the_corpus_breaks_no_promise() {
    for (target, run) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
        let files = std::fs::read_dir(&folder).expect("the corpus folder");
        let mut replayed = 0;
        for file in files {
            run(&std::fs::read(file.expect("an entry").path()).expect("an input"));
            replayed += 1;
        }
        assert!(replayed >= 5, "{target}: only {replayed} inputs in {}", folder.display());
    }
    strongroom_kit::fuzz::end();
}
