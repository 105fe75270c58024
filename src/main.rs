fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let config = voxd::config::Config::load(None, &voxd::config::Environment::of_process()).unwrap_or_else(|e| {
            eprintln!("{e}");
            std::process::exit(64)
        });
        let _t = voxd::telemetry::init(&config.telemetry);
        let lifecycle = voxd::lifecycle::Lifecycle::new();
        lifecycle.stop_on_signals().expect("signals");
        if let Err(e) = voxd::app::serve(config, lifecycle).await {
            eprintln!("{e}");
            std::process::exit(1)
        }
    });
}
