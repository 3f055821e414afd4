//! Facts about the machine and the build.

/// Facts about the machine and the build, as (name, value).
pub fn environment(workers: usize) -> Vec<(String, String)> {
    let cores = std::thread::available_parallelism().map_or_else(|_| "unknown".to_owned(), |cores| cores.to_string());
    [
        ("Kitestring", env!("CARGO_PKG_VERSION").to_owned()),
        ("System", format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH)),
        ("Processor", processor().unwrap_or_else(|| "unknown".to_owned())),
        ("Cores", cores),
        ("Workers", workers.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The most memory this process had resident at once, in MiB; none where the system does not tell.
pub fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}
