//! How fast the simulator writes: `cargo run --release -p kitestring-data --example simulate_speed -- 5000000`.

use kitestring_core::Result;
use kitestring_data::simulator::{Config, Session, Simulator, write};
use std::time::Instant;

fn main() -> Result<()> {
    let events = std::env::args().nth(1).and_then(|events| events.parse().ok()).unwrap_or(5_000_000);
    // Users in proportion, so that a log of any length spans the same days.
    let config = Config { events, users: (events / 200).max(1_000) as u32, ..Config::default() };

    let start = Instant::now();
    let (mut simulator, mut session, mut count) = (Simulator::new(&config)?, Session::default(), 0);
    while simulator.next_into(&mut session) {
        count += session.impressions.len();
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("without files: {count} impressions in {seconds:.2} s, {:.0} a second", count as f64 / seconds);

    let folder = std::env::temp_dir().join("kitestring-simulate-speed");
    let start = Instant::now();
    let summary = write(&config, &folder, &mut |_| ())?;
    let seconds = start.elapsed().as_secs_f64();
    let count = summary.impressions;
    println!("into files:    {count} impressions in {seconds:.2} s, {:.0} a second", count as f64 / seconds);
    println!("{summary:#?}");
    Ok(())
}
