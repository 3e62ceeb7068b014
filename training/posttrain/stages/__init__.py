"""The TRL stages themselves. Imported only when one runs: TRL and its libraries take seconds to import."""
