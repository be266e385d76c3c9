//! Who a session says that its visitor is.
