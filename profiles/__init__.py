"""Device profiles, one TOML file each; `edgeprune.devices` reads them."""
