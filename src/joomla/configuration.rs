//! configuration.php.
