package leyline

// NewMemoryStoreOfShards makes a store of few shards, so that a test fills one.
var NewMemoryStoreOfShards = newMemoryStore
