//! The page in `web/device`, served to a browser without a window.

use crate::{example, here};
use kitestring_device::encode::Value;
use kitestring_device::session::Session;
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use wasm_bindgen_cli_support::Bindgen;

/// Answers a request with a file of the folder, and notes what was asked for.
fn answer(mut stream: TcpStream, folder: &Path, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
    let name = if path.is_empty() { "index.html" } else { path.as_str() };
    asked.lock().unwrap().push(name.to_owned());
    let kind = match name.rsplit('.').next() {
        Some("html") => "text/html",
        Some("js") => "text/javascript",
        Some("css") => "text/css",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    };
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => {
            let length = bytes.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            )?;
            stream.write_all(&bytes)
        }
        Err(_) => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}

/// The steps that the page replays: the session that all examples have.
fn session() -> serde_json::Value {
    let rows: Vec<_> = example::CANDIDATES.iter().map(|(item, genres, price)| json!([item, genres, price])).collect();
    let names: Vec<_> = example::CANDIDATES.iter().map(|(item, ..)| item).collect();
    json!({ "steps": [
        { "set": { "city": "riga", "age": 31 }, "scenarios": ["home"] },
        { "title": "As the page opens", "candidates": { "features": ["item", "genres", "price"], "names": names, "rows": rows } },
        { "title": "After a click on contact", "event": { "clicked": "contact" } },
        { "title": "After a click on dune", "event": { "clicked": "dune" } },
        { "title": "In the search", "scenarios": ["search"] },
    ] })
}

/// What the native session says after each step with a title: candidates in their order, with the bits of their scores.
fn native() -> Vec<Vec<(String, Vec<u32>)>> {
    let mut session = Session::new(example::opened(&example::artifact(1))).unwrap();
    session.set("city", Value::Text("riga")).unwrap();
    session.set("age", Value::Number(31.0)).unwrap();
    session.set_scenarios(&["home"]);
    let rows =
        example::CANDIDATES.map(|(item, genres, price)| [Value::Text(item), Value::List(genres), Value::Number(price)]);
    let rows: Vec<&[Value<'_>]> = rows.iter().map(<[_; 3]>::as_slice).collect();
    session.set_candidates(&["item", "genres", "price"], &rows).unwrap();
    let mut rankings = Vec::new();
    for step in 0..4 {
        match step {
            1 => session.append(&[("clicked", "contact")]).unwrap(),
            2 => session.append(&[("clicked", "dune")]).unwrap(),
            3 => session.set_scenarios(&["search"]),
            _ => {}
        }
        let ranking = session.rank().unwrap();
        let bits = |candidate: usize| {
            ranking.scores[candidate * ranking.columns..][..ranking.columns]
                .iter()
                .map(|score| score.to_bits())
                .collect()
        };
        rankings
            .push(ranking.order(0).into_iter().map(|at| (example::CANDIDATES[at].0.to_owned(), bits(at))).collect());
    }
    rankings
}

/// What lies between two marks, wherever it does.
fn between<'a>(text: &'a str, from: &'a str, to: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(from).skip(1).map(move |part| part.split(to).next().unwrap_or_default())
}

pub fn shows(browser: &str, module: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    Bindgen::new()
        .input_path(module)
        .web(true)
        .unwrap()
        .omit_default_module_path(false)
        .typescript(false)
        .generate(&site)
        .unwrap();
    example::write(&site);
    for file in ["index.html", "page.css", "page.js"] {
        std::fs::copy(here().join("../../web/device").join(file), site.join(file)).unwrap();
    }
    std::fs::write(site.join("session.json"), session().to_string()).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, files) = (Arc::clone(&asked), site.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (log, files) = (Arc::clone(&log), files.clone());
            // A browser that hangs up is no failure of the page; what it lacks then is seen below.
            std::thread::spawn(move || answer(stream, &files, &log));
        }
    });
    let pictures = here().join("../../target/browser");
    std::fs::create_dir_all(&pictures).unwrap();
    let picture = pictures.join("device.png");
    let _ = std::fs::remove_file(&picture);
    let open = |more: &str| {
        let mut command = Command::new(browser);
        command.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ]);
        command.args([
            "--enable-logging=stderr",
            "--log-level=0",
            "--virtual-time-budget=10000",
            "--window-size=1100,1000",
        ]);
        let output = command
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg(more)
            .arg(&address)
            .output();
        let output = output.unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (document, told) = open("--dump-dom");
    open(&format!("--screenshot={}", picture.display()));
    assert!(document.contains("data-state=\"done\""), "{document}\n{told}");
    let console: Vec<&str> = told.lines().filter(|line| line.contains(":CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    assert!(document.contains("example-1, release 1"), "{document}");
    assert!(std::fs::metadata(&picture).is_ok_and(|picture| picture.len() > 10_000), "no picture");

    let sections: Vec<&str> = between(&document, "<section>", "</section>").collect();
    let expected = native();
    assert_eq!(sections.len(), expected.len(), "{document}");
    let (mut same, mut all) = (0, 0);
    for (section, expected) in sections.iter().zip(&expected) {
        let rows: Vec<&str> = section.split("<tr data-candidate=\"").skip(1).collect();
        assert_eq!(rows.len(), expected.len(), "{section}");
        for (row, (name, scores)) in rows.iter().zip(expected) {
            assert!(row.starts_with(&format!("{name}\"")), "expected {name}: {section}");
            let bits: Vec<&str> = between(row, "data-bits=\"", "\"").collect();
            let shown: Vec<f32> = between(row, "class=\"number score\"", "</td>")
                .map(|cell| cell.rsplit('>').next().unwrap().parse().unwrap())
                .collect();
            assert_eq!((bits.len(), shown.len()), (scores.len(), scores.len()), "{row}");
            for ((bits, shown), score) in bits.iter().zip(shown).zip(scores) {
                let (exact, native) = (u32::from_str_radix(bits, 16).unwrap(), f32::from_bits(*score));
                assert!((shown - native).abs() <= 1e-5, "{name}: shown {shown}, native {native}");
                assert!((f32::from_bits(exact) - native).abs() <= 1e-5, "{name}: {bits}, native {native}");
                (same, all) = (same + usize::from(exact == *score), all + 1);
            }
        }
    }
    // A click changes what is said, or the page showed the same ranking four times.
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]));
    println!("page: {same} of {all} scores are the same to the bit");
    let asked = asked.lock().unwrap();
    let known = [
        "index.html",
        "page.css",
        "page.js",
        "kitestring_wasm.js",
        "kitestring_wasm_bg.wasm",
        "ranker.kite",
        "ranker.pub",
        "session.json",
    ];
    assert!(asked.iter().all(|file| known.contains(&file.as_str())), "the page asks for more: {asked:?}");
}
