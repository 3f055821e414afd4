//! From a trained ranker to what is shipped to a device.
