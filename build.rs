//! Compresses the files of the server's pages: those of the API page, which it takes out of the crate
//! that carries Swagger UI, those of the dashboard, and the JavaScript client.

use std::{
    env, fs,
    io::{Cursor, Read as _, Write as _},
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// Each file by the end of its path in the archive; above it stands a folder with the release's name.
const FILES: [&str; 3] = [
    "dist/swagger-ui-bundle.js",
    "dist/swagger-ui.css",
    "LICENSE",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // They are embedded by a macro that cannot say so itself.
    println!("cargo::rerun-if-changed=migrations");
    let folder = env::var_os("OUT_DIR").expect("cargo names the folder");
    let folder = Path::new(&folder);
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).expect("an archive");
    let names: Vec<_> = archive
        .file_names()
        .map(|name| name.expect("UTF-8").into_owned())
        .collect();
    for file in FILES {
        let is_it = |name: &&String| name.split_once('/').is_some_and(|(_, path)| path == file);
        let name = names
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("{file} is not in the archive"));
        let mut content = Vec::new();
        archive
            .by_name(name)
            .and_then(|mut entry| Ok(entry.read_to_end(&mut content)?))
            .unwrap_or_else(|error| panic!("read {file}: {error}"));
        let bare = file.rsplit('/').next().unwrap_or(file);
        compress(&content, &folder.join(format!("{bare}.gz")));
    }
    compress_dashboard(&folder.join("dashboard"));
    let client = "assets/client.js";
    println!("cargo::rerun-if-changed={client}");
    let content = fs::read(client).unwrap_or_else(|error| panic!("read {client}: {error}"));
    compress(&content, &folder.join("client.js.gz"));
}

/// Compresses the files of the dashboard, as they were made of `clients/dashboard`.
fn compress_dashboard(target: &Path) {
    let source = Path::new("assets/dashboard");
    println!("cargo::rerun-if-changed={}", source.display());
    fs::create_dir_all(target).expect("a folder of its own");
    for entry in fs::read_dir(source).expect("the dashboard's files") {
        let path = entry.expect("a file").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let content = fs::read(&path).expect("a file that can be read");
        compress(&content, &target.join(format!("{name}.gz")));
    }
}

fn compress(content: &[u8], target: &Path) {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let written = gzip.write_all(content).and_then(|()| gzip.finish());
    let written = written.and_then(|bytes| fs::write(target, bytes));
    written.unwrap_or_else(|error| panic!("write {}: {error}", target.display()));
}
