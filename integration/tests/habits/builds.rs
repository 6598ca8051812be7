//! Package managers and compilers: many files that come and go at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use syncd_integration::process::{Device, Noise, Pair, is_long, nodes, write};

use super::{agree_without_conflict, await_text, done};

/// Makes something like what a package manager leaves: packages with a few files each, links
/// to programs.
fn install_by_hand(dir: &Path, packages: usize) {
    let mut noise = Noise::new(21);
    for package in 0..packages {
        let at = dir.join(format!("node_modules/@scope{}/package{package}", package % 7));
        write(&at.join("package.json"), format!("{{\"name\": \"package{package}\"}}\n"));
        for file in 0..9 {
            write(&at.join(format!("lib/{file}.js")), noise.bytes(100 + 37 * file));
        }
        let bin = dir.join("node_modules/.bin");
        fs::create_dir_all(&bin).unwrap();
        let target = format!("../@scope{}/package{package}/lib/0.js", package % 7);
        std::os::unix::fs::symlink(target, bin.join(format!("program{package}"))).unwrap();
    }
}

/// Lets npm install a package that lies beside the folder.
fn npm_install(dir: &Path, package: &Path) {
    write(&package.join("package.json"), "{\"name\": \"beside\", \"version\": \"1.0.0\"}\n");
    for at in 0..50 {
        write(&package.join(format!("lib/{at}.js")), format!("module.exports = {at}\n"));
    }
    write(&dir.join("package.json"), "{\"name\": \"app\", \"version\": \"1.0.0\"}\n");
    done(
        Command::new("npm")
            .args(["install", "--offline", "--no-audit", "--no-fund", "--install-links"])
            .arg("--cache")
            .arg(package.with_extension("cache"))
            .arg(package)
            .current_dir(dir),
    );
}

fn has_program(name: &str) -> bool {
    let mut command = Command::new(name);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

#[test]
fn npm_install_arrives_and_rm_rf_is_not_held() {
    let pair = Pair::new();
    for (here, there) in pair.sides() {
        if has_program("npm") {
            npm_install(&here.path("app"), &pair.aside(&format!("package-of-{}", here.name())));
            assert!(here.path("app/node_modules/beside/lib/49.js").exists(), "npm installs");
        }
        let packages = if is_long() { 500 } else { 100 };
        install_by_hand(&here.path("app"), packages);
        agree_without_conflict(&pair, "what was installed");
        assert!(there.path("app/node_modules/.bin/program99").exists(), "links and all");
        done(Command::new("rm").args(["-rf", "app"]).current_dir(here.root()));
        agree_without_conflict(&pair, "what was removed");
        assert_eq!(nodes(there.root()).len(), 0, "rm -rf of everything just works");
        assert_eq!(here.status("work")["state"], "idle", "nothing is held");
    }
}

/// Returns what `cargo run` says of the crate of a device.
fn cargo_run(device: &Device) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    done(
        Command::new(cargo)
            .args(["run", "--quiet", "--offline"])
            .current_dir(device.path("app"))
            .env("CARGO_TARGET_DIR", "target")
            .env_remove("RUSTFLAGS"),
    )
}

fn main_that_says(text: &str) -> String {
    format!("fn main() {{\n    println!(\"{text}\");\n}}\n")
}

#[test]
fn cargo_builds_on_both_sides_and_its_output_stays_where_it_is() {
    let pair = Pair::new();
    write(&pair.laptop.path(".stignore"), "target\n");
    let manifest = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
    write(&pair.laptop.path("app/Cargo.toml"), manifest);
    write(&pair.laptop.path("app/src/main.rs"), main_that_says("first"));
    pair.laptop.flush();
    // Both write the same lock file, at the same time.
    std::thread::scope(|scope| {
        for (here, _) in pair.sides() {
            scope.spawn(|| assert_eq!(cargo_run(here), "first\n", "it builds on both"));
        }
    });
    for turn in 0..4 {
        let (here, there) = pair.sides()[turn % 2];
        let text = format!("turn {turn}");
        write(&here.path("app/src/main.rs"), main_that_says(&text));
        await_text(there, "app/src/main.rs", &main_that_says(&text));
        assert_eq!(cargo_run(there), format!("{text}\n"), "the build sees what arrived");
    }
    for (here, _) in pair.sides() {
        write(&here.path("app/target/mine"), here.name());
        here.flush();
    }
    let is_work = |path: &PathBuf| !path.starts_with("app/target");
    let work = |device: &Device| nodes(device.root()).into_iter().filter(|(p, _)| is_work(p));
    assert!(work(&pair.laptop).eq(work(&pair.devbox)), "the sources are the same");
    for (here, _) in pair.sides() {
        assert_eq!(super::copies(here), [""; 0], "equal lock files are no conflict");
        let mine = fs::read_to_string(here.path("app/target/mine")).unwrap();
        assert_eq!(mine, here.name(), "what is built stays here");
    }
}
