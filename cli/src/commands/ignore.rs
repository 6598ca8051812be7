//! `ignore check`: what a rule file says of some paths. Needs neither daemon nor home.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ignore_rules::{Rules, Verdict};
use serde_json::{Value, json};
use syncd_api::{ApiError, PathText};

use super::{Outcome, chain};
use crate::render;

/// Try out rules of what not to sync
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  syncctl ignore check --rules ~/work/.stignore target/debug/app src/main.rs

A folder's rules stand in .stignore in its root, one pattern a line; the first that matches
decides:
  /target           the name in the root, and all below it
  node_modules      the name at any depth
  *.log             * stands for anything but '/', ** for anything
  !keep.log         keeps what a later line would ignore
  // a comment
  #include other    the lines of another file
  #gitignore        the folder's .gitignore files, as git reads them")]
pub(crate) struct Ignore {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Tell for each path whether it is ignored, and by which line
    ///
    /// Exit code 0 whatever the verdicts; 2 when the rules cannot be used.
    Check {
        /// The rule file
        #[arg(long, value_name = "FILE")]
        rules: PathBuf,
        /// The folder that the rules are of; the rule file's folder if not given
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
        /// Paths inside the folder, which need not exist; one with a final / is a directory
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<OsString>,
    },
}

impl Ignore {
    pub(crate) fn run(&self, as_json: bool) -> Outcome {
        let Action::Check { rules, root, paths } = &self.action;
        let root = root.clone().unwrap_or_else(|| folder_of(rules));
        let mut parsed = parse(rules, &root)?;
        let mut text = String::new();
        for path in paths {
            let (inside, is_dir) = inside(path, &root)?;
            bring_gitignores(&mut parsed, &root, &inside);
            let verdict = parsed.verdict(&inside, is_dir);
            let typed = PathText::of(path.as_bytes());
            text += &match as_json {
                true => render::safe_json(&told(&typed, &verdict).to_string()),
                false => shown(&typed, &verdict),
            };
            text.push('\n');
        }
        render::print(&text)
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn parse(file: &Path, root: &Path) -> Result<Rules, ApiError> {
    let text = std::fs::read(file).map_err(|error| {
        let name = file.to_string_lossy();
        ApiError::usage(format!("cannot read the rule file {name:?}: {error}"))
    })?;
    // Under its place in the folder, for its own includes begin there; from elsewhere, it is
    // taken as if it lay in the root.
    let place = file.canonicalize().ok().zip(root.canonicalize().ok());
    let place = place.and_then(|(file, root)| Some(file.strip_prefix(root).ok()?.to_owned()));
    let name = place.unwrap_or_else(|| PathBuf::from(file.file_name().unwrap_or_default()));
    let mut source = |name: &str| std::fs::read(root.join(name)).ok();
    Rules::parse(&[(&name.to_string_lossy(), &text)], &mut source)
        .map_err(|error| ApiError::usage(chain(&error)))
}

/// Returns the path from the root, without slashes at its ends, and whether it is a directory.
fn inside(typed: &OsString, root: &Path) -> Result<(Vec<u8>, bool), ApiError> {
    let path = Path::new(typed);
    let whole_root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let path = path.strip_prefix(&whole_root).unwrap_or(path);
    let parts = path.components().filter(|part| *part != std::path::Component::CurDir);
    let relative: PathBuf = parts.collect();
    let outside = relative.is_absolute()
        || relative.components().any(|part| part == std::path::Component::ParentDir);
    if outside {
        let typed = typed.to_string_lossy();
        return Err(ApiError::usage(format!("{typed:?} is not inside the folder; see --root")));
    }
    let on_disk = root.join(&relative);
    let is_dir = typed.as_bytes().ends_with(b"/")
        || std::fs::symlink_metadata(on_disk).is_ok_and(|there| there.is_dir());
    Ok((relative.as_os_str().as_bytes().to_vec(), is_dir))
}

fn bring_gitignores(rules: &mut Rules, root: &Path, path: &[u8]) {
    if !rules.wants_gitignore() {
        return;
    }
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    for dir in path.ancestors().skip(1) {
        let text = std::fs::read(root.join(dir).join(".gitignore")).ok();
        rules.set_gitignore(dir.as_os_str().as_bytes(), text.as_deref());
    }
}

fn told(path: &PathText, verdict: &Verdict) -> Value {
    let mut told = json!({
        "path": path.path,
        "verdict": if verdict.ignored { "ignored" } else { "synced" },
        "file": verdict.rule.as_ref().map(|rule| &*rule.file),
        "line": verdict.rule.as_ref().map(|rule| rule.line),
    });
    if let Some(hex) = &path.path_hex {
        told["path_hex"] = json!(hex);
    }
    told
}

fn shown(path: &PathText, verdict: &Verdict) -> String {
    let path = render::shown(path);
    match (verdict.ignored, &verdict.rule) {
        (true, Some(rule)) => {
            let (file, text) = (render::escaped(&rule.file), render::escaped(&rule.text));
            format!("{path}: ignored by line {} of {file}: {text}", rule.line)
        }
        (true, None) => format!("{path}: ignored"),
        (false, Some(rule)) => {
            format!("{path}: synced, by line {} of {}", rule.line, render::escaped(&rule.file))
        }
        (false, None) => format!("{path}: synced"),
    }
}
