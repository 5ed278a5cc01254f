//! Which module may name which: ARCHITECTURE.md draws the arrows, and this test checks that the sources follow them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests, too

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, File, Item, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// The modules of a folder, and which of the others each may name. What is in the first list may be named by all.
struct House {
    folder: &'static str,
    /// How paths to it begin.
    root: &'static [&'static str],
    everybodys: &'static [&'static str],
    arrows: &'static [(&'static str, &'static [&'static str])],
}

/// The storage: the contract names nothing else but `Backend`, which is in `storage/mod.rs`; the front knows the port, never a
/// backend; a backend knows the port, never the front or another backend; only `storage/mod.rs`, `inspect/` and `declared.rs` know
/// all of them.
const STORAGE: House = House {
    folder: "server/src/storage",
    root: &["crate", "storage"],
    everybodys: &[
        "traits",
        "models",
        "error",
        "contract",
        "id",
        "timestamp",
        "limits",
        "changes",
        "token",
        "login",
        "clock",
        "condition",
        "text",
    ],
    arrows: &[
        ("bytes", &[]),
        ("files", &[]),
        ("finding", &[]),
        ("disk", &[]),
        ("space", &["disk", "files"]),
        ("metered", &[]),
        ("port", &["files"]),
        ("inspection", &["finding"]),
        ("example", &["port"]),
        ("front", &["port", "disk"]),
        ("sqlite", &["port", "files", "finding", "inspection", "example", "space"]),
        ("redb", &["port", "bytes", "files", "finding", "inspection", "example"]),
        ("log", &["port", "bytes"]),
        ("inspect", &["port", "files", "finding", "inspection", "sqlite", "redb"]),
        ("declared", &["sqlite", "redb"]),
    ],
};

/// The server around it: handlers see the contract and nothing behind it.
const SERVER: House = House {
    folder: "server/src",
    root: &["crate"],
    everybodys: &[],
    arrows: &[
        ("terminal", &[]),
        ("storage", &[]),
        ("config", &["storage"]),
        ("http", &["storage", "config", "terminal"]),
    ],
};

/// The key-value store: what bytes mean is known without redb and without a file.
const KVSTORE: House = House {
    folder: "kvstore/src",
    root: &["crate"],
    everybodys: &["error"],
    arrows: &[
        ("schema", &[]),
        ("engine", &[]),
        ("store", &["schema", "engine"]),
        ("look", &["store", "schema", "engine"]),
    ],
};

#[test]
fn arrows_between_the_rooms_of_the_storage_point_one_way() {
    STORAGE.check();
}

#[test]
fn the_storage_knows_nothing_of_the_server_around_it() {
    SERVER.check();
}

#[test]
fn arrows_between_the_rooms_of_the_key_value_store_point_one_way() {
    KVSTORE.check();
}

#[test]
fn files_of_the_key_value_store_name_each_other_in_no_circle() {
    assert_eq!(KVSTORE.circle(), None);
}

#[test]
fn handlers_name_nothing_of_the_storage_but_the_contract_and_what_opens_it() {
    let http = House { folder: "server/src/http", root: &["crate", "http"], everybodys: &[], arrows: &[] };
    for (file, paths) in http.sources() {
        for path in paths {
            let behind = ["front", "port", "sqlite", "redb", "files", "inspect"];
            let is_behind = path.len() > 2 && path[..2] == ["crate", "storage"] && behind.contains(&path[2].as_str());
            assert!(!is_behind, "{} names {}", file.display(), path.join("::"));
        }
    }
}

impl House {
    fn check(&self) {
        let exported = self.exported();
        let mut wrong = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for (file, paths) in self.sources() {
            let Some(room) = self.room_of(&file) else { continue };
            seen.insert(room.clone());
            let own = self.arrows.iter().find(|(name, _)| *name == room).map(|(_, others)| *others);
            let is_everybodys = self.everybodys.contains(&room.as_str());
            if own.is_none() && !is_everybodys {
                assert!(self.folder == "server/src", "say in tests/architecture.rs what `{room}` may name");
                continue; // the program itself
            }
            for path in paths {
                let Some(named) = path.get(..self.root.len()).filter(|root| root == &self.root) else { continue };
                let Some(first) = path.get(named.len()) else { continue };
                let other = exported.get(first).unwrap_or(first);
                let is_room =
                    self.everybodys.contains(&other.as_str()) || self.arrows.iter().any(|(name, _)| name == other);
                let may = *other == room
                    || !is_room
                    || self.everybodys.contains(&other.as_str())
                    || own.is_some_and(|own| own.contains(&other.as_str()));
                if !may {
                    wrong.insert(format!("{}: `{room}` names `{other}` ({})", file.display(), path.join("::")));
                }
            }
        }
        for (name, _) in self.arrows {
            assert!(seen.contains(*name), "there is no `{name}` in {} any more", self.folder);
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// Modules of which each names the next, and the last the first.
    fn circle(&self) -> Option<Vec<String>> {
        let sources: BTreeMap<_, _> =
            self.sources().into_iter().map(|(file, paths)| (self.module_of(&file), paths)).collect();
        let mut names = BTreeMap::new();
        for (module, paths) in &sources {
            let named = paths.iter().filter_map(|path| {
                let begun = [module.as_slice(), path].concat();
                // In its own file, a child's name needs nothing before it.
                let is_childs = path.len() > 1 && sources.contains_key(&begun[..=module.len()]);
                let path = if is_childs { &begun } else { path };
                (1..=path.len()).rev().find_map(|length| Some(sources.get_key_value(&path[..length])?.0.as_slice()))
            });
            names.insert(module.as_slice(), named.filter(|other| other != module).collect::<BTreeSet<_>>());
        }
        // What names nothing that is left is in no circle; so in the end either nothing is left, or circles are.
        while let Some(done) = names.iter().find(|(_, named)| named.is_empty()).map(|(module, _)| *module) {
            names.remove(done);
            names.values_mut().for_each(|named| _ = named.remove(done));
        }
        let mut circle = vec![*names.keys().next()?];
        loop {
            let next = *names[circle[circle.len() - 1]].first().unwrap();
            if let Some(begin) = circle.iter().position(|module| *module == next) {
                return Some(circle[begin..].iter().map(|module| module.join("::")).collect());
            }
            circle.push(next);
        }
    }

    fn place(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(self.folder)
    }

    /// The module of the folder that a file is of; none for the folder's own.
    fn room_of(&self, file: &Path) -> Option<String> {
        let first = file.strip_prefix(self.place()).unwrap().components().next().unwrap();
        let name = Path::new(first.as_os_str()).file_stem().unwrap().to_str().unwrap();
        (!["mod", "lib", "main"].contains(&name)).then(|| name.to_owned())
    }

    /// What the folder's own file exports, and of which module.
    fn exported(&self) -> BTreeMap<String, String> {
        let file = if self.root.len() > 1 { "mod.rs" } else { "lib.rs" };
        let text = fs::read_to_string(self.place().join(file)).unwrap();
        let mut exported = BTreeMap::new();
        for item in syn::parse_file(&text).unwrap().items {
            if let Item::Use(ItemUse { vis: Visibility::Public(_), tree, .. }) = item {
                for path in flat(&tree) {
                    let module = path.iter().find(|segment| *segment != "self").unwrap();
                    exported.insert(path.last().unwrap().clone(), module.clone());
                }
            }
        }
        exported
    }

    /// Every source file, and the paths it names, from the crate on. Tests may name whatever they need.
    fn sources(&self) -> Vec<(PathBuf, Vec<Vec<String>>)> {
        let mut sources = Vec::new();
        let mut folders = vec![self.place()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                if path.is_dir() && name != "tests" {
                    folders.push(path);
                } else if name.ends_with(".rs") && name != "tests.rs" {
                    let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
                    let named = self.named(&path, &file);
                    sources.push((path, named));
                }
            }
        }
        sources
    }

    fn named(&self, path: &Path, file: &File) -> Vec<Vec<String>> {
        let mut names = Names::default();
        names.visit_file(file);
        let module = self.module_of(path);
        names.0.into_iter().map(|path| absolute(&module, path)).collect()
    }

    /// The module that a file is, from the crate on.
    fn module_of(&self, path: &Path) -> Vec<String> {
        let mut module: Vec<String> = self.root.iter().map(|segment| (*segment).to_owned()).collect();
        let relative = path.strip_prefix(self.place()).unwrap().with_extension("");
        module.extend(relative.components().map(|it| it.as_os_str().to_str().unwrap().to_owned()));
        if module.last().is_some_and(|last| last == "mod" || last == "lib") {
            module.pop();
        }
        module
    }
}

fn absolute(module: &[String], path: Vec<String>) -> Vec<String> {
    let supers = path.iter().take_while(|segment| *segment == "super").count();
    match path.first().map(String::as_str) {
        Some("super") => {
            let base = module.len().saturating_sub(supers);
            module[..base].iter().chain(&path[supers..]).cloned().collect()
        }
        Some("self") => module.iter().chain(&path[1..]).cloned().collect(),
        _ => path,
    }
}

/// The paths in `use` items and in the code.
#[derive(Default)]
struct Names(Vec<Vec<String>>);

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_of_tests(&item.attrs) {
            self.0.extend(flat(&item.tree));
        }
    }

    /// Who may see something is not named by it.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }
}

/// Every path that a `use` names.
fn flat(tree: &UseTree) -> Vec<Vec<String>> {
    match tree {
        UseTree::Path(path) => {
            let mut paths = flat(&path.tree);
            paths.iter_mut().for_each(|rest| rest.insert(0, path.ident.to_string()));
            paths
        }
        UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        UseTree::Rename(rename) => vec![vec![rename.ident.to_string()]],
        UseTree::Glob(_) => vec![Vec::new()],
        UseTree::Group(group) => group.items.iter().flat_map(flat).collect(),
    }
}
