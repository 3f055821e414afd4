//! The report of a small run, opened in a browser: nothing fails, nothing is cut off, everything that should be shown is.
//!
//! A copy of the page measures itself once it is laid out and leaves what it found in its own document, which the browser prints.
//! Screenshots are left in `target/browser`.
#![allow(clippy::unwrap_used)]

mod common;

use common::{SMALL, done, root};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sections of the report of a simulated run.
const SECTIONS: [&str; 10] = [
    "Metrics",
    "Learning curves",
    "ROC, precision and calibration",
    "Groups",
    "Against the truth",
    "What the model attends to",
    "What each feature is worth",
    "Data",
    "Speed and memory",
    "To run it again",
];

const MEASURE: &str = r#"<script>
addEventListener("load", () => {
  const all = selector => [...document.querySelectorAll(selector)];
  const width = document.documentElement.clientWidth;
  const scrolls = element => { for (; element; element = element.parentElement) if (/auto|scroll/.test(getComputedStyle(element).overflowX)) return true; return false };
  const box = element => element.getBoundingClientRect();
  const found = {
    title: document.title,
    headings: all("h1, h2, h3").map(heading => heading.textContent.trim()),
    overflow: document.documentElement.scrollWidth - width,
    wide: all("body *").filter(element => !(element instanceof SVGElement) && !scrolls(element) && box(element).right > width + 1).map(element => element.tagName + ": " + element.textContent.slice(0, 40)),
    figures: all("svg").length,
    empty: all("svg").filter(figure => !figure.querySelector("path, line, rect, circle, polyline, polygon")).length,
    cut: all("svg text").filter(text => { const inner = box(text), outer = box(text.ownerSVGElement); return inner.width > 0 && (inner.left < outer.left - 24 || inner.right > outer.right + 24) }).map(text => text.textContent),
    requests: performance.getEntriesByType("resource").map(entry => entry.name),
    nan: (document.body.innerText.match(/\bNaN\b/g) || []).length + all("svg *").filter(element => [...element.attributes].some(attribute => /NaN|Infinity/.test(attribute.value))).length,
    background: getComputedStyle(document.body).backgroundColor,
  };
  const result = document.createElement("script");
  result.type = "application/json";
  result.id = "measured";
  result.textContent = JSON.stringify(found).replaceAll("<", "\\u003c");
  document.body.append(result);
});
</script>"#;

/// The browser, or why there is none.
fn browser() -> Option<String> {
    let named = std::env::var("KITESTRING_CHROMIUM").ok().filter(|name| !name.is_empty());
    let candidates = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    let works =
        |name: &String| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = named.into_iter().chain(candidates).find(works);
    if found.is_none() {
        assert!(
            std::env::var("CI").is_ok_and(|ci| ci != "true") || std::env::var("CI").is_err(),
            "there is no Chromium"
        );
        println!("skipped: the report was not opened, for there is no Chromium; name one in KITESTRING_CHROMIUM");
    }
    found
}

/// How the page is looked at.
struct View {
    name: &'static str,
    size: &'static str,
    dark: bool,
}

/// Opens a page and gives what it measured, and what the browser had to say.
fn open(browser: &str, page: &Path, view: &View, profile: &Path, picture: &Path) -> (Value, Vec<String>) {
    let address = format!("file://{}", page.display());
    let mut shared = vec![
        "--headless=new".to_owned(),
        "--no-sandbox".into(),
        "--disable-gpu".into(),
        "--disable-dev-shm-usage".into(),
        "--hide-scrollbars".into(),
        "--enable-logging=stderr".into(),
        "--log-level=0".into(),
        "--virtual-time-budget=5000".into(),
        format!("--user-data-dir={}", profile.display()),
        format!("--window-size={}", view.size),
    ];
    if view.dark {
        shared.push("--blink-settings=preferredColorScheme=0".into());
    }
    let run = |more: &[&str]| {
        let output = Command::new(browser).args(&shared).args(more).arg(&address).output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (document, told) = run(&["--dump-dom"]);
    let picture = format!("--screenshot={}", picture.display());
    run(&[&picture]);
    let start = document.find("id=\"measured\">").unwrap_or_else(|| panic!("the page measured nothing:\n{told}"));
    let rest = &document[start + "id=\"measured\">".len()..];
    let measured = serde_json::from_str(&rest[..rest.find("</script>").unwrap()]).unwrap();
    let console = told.lines().filter(|line| line.contains(":CONSOLE")).map(str::to_owned).collect();
    (measured, console)
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Opens a page in three ways, and holds it against what every page must be. Its pictures are kept under the name.
fn looks_right(browser: &str, folder: &Path, (name, page): (&str, &Path), sections: &[&str], figures: u64) {
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        !page.contains("<script") && !page.contains("src=") && !page.contains("@import"),
        "the page is not self-contained"
    );
    let pictures: PathBuf = root().join("target/browser");
    std::fs::create_dir_all(&pictures).unwrap();
    let measuring = folder.join("page.html");
    // The page forbids every script. The copy that is measured allows the one that measures, and nothing else.
    let policy = "default-src 'none'";
    assert!(page.contains(policy));
    let copy = page.replacen(policy, "default-src 'none'; script-src 'unsafe-inline'", 1);
    std::fs::write(&measuring, copy.replacen("</body>", &format!("{MEASURE}</body>"), 1)).unwrap();
    assert!(page.contains("</body>"));
    let views = [
        View { name: "desktop", size: "1280,4000", dark: false },
        View { name: "dark", size: "1280,4000", dark: true },
        View { name: "phone", size: "500,6000", dark: false },
    ];
    let mut backgrounds = Vec::new();
    for view in views {
        let picture = pictures.join(format!("{name}-{}.png", view.name));
        let _ = std::fs::remove_file(&picture);
        let (found, console) = open(browser, &measuring, &view, &folder.join("profile"), &picture);
        let name = format!("{name}, {}", view.name);
        assert!(console.is_empty(), "{name}: {console:?}");
        assert!(std::fs::metadata(&picture).is_ok_and(|picture| picture.len() > 10_000), "{name}: no screenshot");
        assert_eq!(texts(&found["requests"]), Vec::<String>::new(), "{name}: the page asks for more");
        assert_eq!(texts(&found["wide"]), Vec::<String>::new(), "{name}: wider than the window");
        assert!(found["overflow"].as_i64() <= Some(0), "{name}: {found}");
        assert_eq!(texts(&found["cut"]), Vec::<String>::new(), "{name}: text far outside of its figure");
        assert_eq!(found["empty"].as_u64(), Some(0), "{name}: an empty figure");
        assert_eq!(found["nan"].as_u64(), Some(0), "{name}: NaN is shown");
        assert!(found["figures"].as_u64() >= Some(figures), "{name}: {} figures", found["figures"]);
        let headings = texts(&found["headings"]);
        for section in sections {
            assert!(
                headings.iter().any(|heading| heading == section),
                "{name}: no section `{section}` among {headings:?}"
            );
        }
        backgrounds.push(found["background"].as_str().unwrap().to_owned());
    }
    assert!(backgrounds[0] != backgrounds[1], "the page is not dark in the dark: {backgrounds:?}");
}

#[test]
fn the_report_looks_right_in_a_browser() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    done(&[&["run", "--out", run.to_str().unwrap()][..], &SMALL].concat());
    looks_right(&browser, folder.path(), ("report", &run.join("report.html")), &SECTIONS, 8);
}

#[test]
fn a_sweep_s_page_looks_right_in_a_browser() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("bodies.toml"), folder.path().join("sweep"));
    let config = root().join("configs/simulated.toml");
    let text = format!(
        "config = {config:?}\nseeds = [1, 2]\n[grid]\n\"model.body.type\" = [\"mlp\", \"mmoe\"]\n\"train.learning_rate\" = [1e-4, 1e-3, 1e-2]\n"
    );
    std::fs::write(&file, text).unwrap();
    let settings = &SMALL[..SMALL.len() - 2];
    done(&[&["sweep", file.to_str().unwrap(), "--out", out.to_str().unwrap()][..], settings].concat());
    let sections = ["Points", "Metrics", "Trade-offs", "Scenarios", "Varied numbers"];
    looks_right(&browser, folder.path(), ("sweep", &out.join("sweep.html")), &sections, 10);
}
