//! What is kept between runs: the receipt, the fingerprint key, the lock and the last ciphertexts.
