/**
 * What is kept on other machines: models that are fetched, images that are uploaded. Knows servers that speak S3 and the Hugging Face Hub; knows nothing
 * of how images are made or what a model means.
 */
export { BucketImages } from './bucket-images.js';
export { BucketModel } from './bucket-model.js';
export { fetchModel } from './fetch-model.js';
export { HubModel } from './hub-model.js';
export { objectUri, parseObjectUri } from './object-uri.js';
export { type Patience } from './patience.js';
export { type RemoteModel } from './remote-model.js';
