//! The OpenAPI document, held in a file so that a change of the interface is seen in review.

use std::path::Path;

/// `make openapi` (or `VOXD_TEST_UPDATE=1` with this test) writes the file anew.
#[test]
fn the_openapi_document_is_the_one_that_is_committed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/openapi.json");
    let present = serde_json::to_string_pretty(&voxd::http::openapi()).unwrap() + "\n";
    if std::env::var_os("VOXD_TEST_UPDATE").is_some() {
        std::fs::write(&path, &present).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == present,
        "tests/snapshots/openapi.json is out of date; look at the change, then: make openapi"
    );
}
