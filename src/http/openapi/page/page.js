// Shows the document with Swagger UI. No badge of an outside validator, and no settings from the address.
SwaggerUIBundle({
  url: 'openapi.json',
  domNode: document.getElementById('page'),
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayOperationId: true,
  queryConfigEnabled: false,
  validatorUrl: null,
});
