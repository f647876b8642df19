// Starts the viewer of /docs, and follows the document's links: the id of an order that was placed with "Try it out" is
// filled in wherever an order's id is asked for.

// `$response.body#/orderId` names a field of an answer.
const valueAt = (expression, body) =>
  expression.replace("$response.body#/", "").split("/").reduce((value, name) => value?.[name], body);

const followLinks = (system, path, method, response) => {
  const { paths } = system.specSelectors.specJson().toJS();
  const links = paths[path][method].responses[response.status]?.links ?? {};
  const operations = Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, { operationId }]) => ({ path, method, operationId })),
  );
  for (const link of Object.values(links)) {
    const target = operations.find(({ operationId }) => operationId === link.operationId);
    for (const [name, expression] of Object.entries(link.parameters)) {
      system.specActions.changeParam([target.path, target.method], name, "path", valueAt(expression, response.body));
    }
  }
};

const FollowLinks = () => ({
  statePlugins: {
    spec: {
      wrapActions: {
        setResponse: (setResponse, system) => (path, method, response) => {
          if (response.ok) followLinks(system, path, method, response);
          return setResponse(path, method, response);
        },
      },
    },
  },
});

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  plugins: [FollowLinks],
});
